"""Command line of scripts/train_psp.py."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from psp.trainer import TrainingSettings
from stylegan2.runtime.errors import UserError


@dataclass(frozen=True)
class LossSettings:
    """Weights of the losses; those not given are the paper's for the task."""

    l2_lambda: float | None = None
    """weight of the pixel-wise loss"""
    lpips_lambda: float | None = None
    """weight of the perceptual loss"""
    id_lambda: float | None = None
    """weight of the identity loss"""
    w_norm_lambda: float | None = None
    """weight of the distance to the latent average"""
    perceptual: str = "auto"
    """perceptual network: alex, vgg or squeeze (LPIPS), effnet, or auto: alex where its file is, else effnet"""
    perceptual_weights: Path | None = None
    """file of the perceptual network's weights"""
    identity: str = "auto"
    """identity network: arcface, dlib, facenet, or auto: arcface where its file is, else dlib"""
    identity_weights: Path | None = None
    """file of the identity network's weights, such as model_ir_se50.pth"""

    def lambdas(self, defaults: dict[str, float]) -> dict[str, float]:
        """{loss: weight}: the flags over the task's defaults."""
        given = {
            "l2": self.l2_lambda,
            "perceptual": self.lpips_lambda,
            "id": self.id_lambda,
            "w_norm": self.w_norm_lambda,
        }
        return {**defaults, **{name: weight for name, weight in given.items() if weight is not None}}

    def networks(self) -> dict[str, dict]:
        """{loss: keyword arguments of its network}."""
        return {
            "perceptual": {"network": self.perceptual, "path": self.perceptual_weights},
            "id": {"network": self.identity, "path": self.identity_weights},
        }


@dataclass(frozen=True)
class TrainPSp:
    """Train a pSp encoder for a generator. To resume, run the same command again."""

    task: str = "inversion"
    """the translation to learn: a file of datasets/tasks"""
    data: Annotated[str, tyro.conf.arg(aliases=["--data_path"])] = "synthetic"
    """a folder or zip of images, or `synthetic` for the embedded procedural faces"""
    test_data: Annotated[str | None, tyro.conf.arg(aliases=["--test_data_path"])] = None
    """images for validation; by default some of the data are held out"""
    exp_dir: Path = Path("runs/psp")
    """experiment folder: checkpoints, TensorBoard logs, metrics.jsonl"""
    stylegan_weights: str = "synthfaces64"
    """the generator: a shipped name, an experiment folder, or a file of ours, rosinality's or NVIDIA's"""
    checkpoint_path: Path | None = None
    """start from the encoder of this checkpoint or experiment folder"""
    encoder_type: str = "auto"
    """an encoder of psp/encoders; auto takes `light` for generators up to 128 px, else `gradual`"""
    trunk_weights: Path | None = None
    """start the trunk of the encoder from an ArcFace IR-SE50 file (model_ir_se50.pth), as the paper does"""
    start_from_latent_avg: bool = True
    """let the encoder predict offsets to the generator's mean latent"""
    preset: str | None = None
    """a named set of defaults; flags given beside it win"""
    device: str = "auto"
    """auto, cpu, cuda or mps"""
    workers: int = 1
    """processes that read or render images"""
    losses: tyro.conf.OmitArgPrefixes[LossSettings] = field(default_factory=LossSettings)
    training: tyro.conf.OmitArgPrefixes[TrainingSettings] = field(default_factory=TrainingSettings)

    def __post_init__(self) -> None:
        if self.workers < 0:
            raise UserError(f"--workers must not be negative, but is {self.workers}")
