"""The settings of scripts/export_onnx.py."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from options.results import Results


@dataclass(frozen=True)
class ExportOnnx(Results):
    """Write a model as ONNX graphs, for onnxruntime in any language and in the browser.

    A pSp model gives encoder.onnx, generator.onnx, and model.onnx for both together. A generator gives mapping.onnx and
    generator.onnx. The batch size is free. The outputs of each graph are compared with PyTorch before it is kept.
    """

    model: tyro.conf.Positional[str]
    """an experiment folder, a checkpoint, or a model's name"""
    out: Path = Path("onnx")
    """folder for the graphs"""
    part: Literal["all", "encoder", "generator", "model", "mapping"] = "all"
    """which graph to write"""
    half: bool = False
    """compute in float16; inputs and outputs stay float32, and the file of the encoder is half as large"""
