"""Types of settings that several commands share and, if it is the same in all commands, their help text."""

from typing import Annotated, Literal

import tyro

Precision = Literal["auto", "fp32", "tf32", "bf16", "fp16"]
"""precision of all networks"""
SynthesisPrecision = Annotated[
    Literal["fp32", "bf16"],
    tyro.conf.arg(help="bf16 computes the four highest resolutions in 16-bit numbers: faster on GPUs, and less exact"),
]
PerceptualNetwork = Annotated[
    str, tyro.conf.arg(help="perceptual network: alex, vgg or squeeze (LPIPS), effnet, or auto")
]
IdentityNetwork = Annotated[str, tyro.conf.arg(help="identity network: arcface, dlib, facenet, or auto")]
