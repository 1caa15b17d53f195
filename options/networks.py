"""Flags for the registered generators and discriminators, and the settings that --arch and --preset stand for."""

import ast
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, fields, make_dataclass
from typing import TYPE_CHECKING, Annotated

import tyro

from options.registered import Parameter, Part, read_parts
from options.source import modules_with, read_source
from stylegan2.networks.registry import Preset, Settings
from stylegan2.networks.sizes import check_sizes, feature_maps
from stylegan2.runtime.errors import UserError

if TYPE_CHECKING:
    from stylegan2.networks.protocols import Discriminator, Generator

NETWORKS = "stylegan2.networks"
DEFAULT_ARCH = "stylegan2"
WITHOUT_FLAG = ("img_resolution", "img_channels", "num_classes", "architecture")  # arguments without a flag
DISCRIMINATOR_KINDS = ("own", "projected")
SMALLEST_SIDE, LARGEST_SIDE = 128, 224  # px, default side of images for the features of the projected discriminator
# Training settings of --d projected for all architectures (Sauer et al. 2021).
PROJECTED: Settings = {"loss": "hinge", "r1_interval": 0, "path_length_interval": 0}


@dataclass(frozen=True)
class CommonNetworkSettings:
    """Settings of all generators and discriminators."""

    arch: str = DEFAULT_ARCH
    """a generator of stylegan2/networks, such as pggan, stylegan or stylegan2; all other settings are as published,
    unless a preset or a flag changes them"""
    resolution: int = 64
    """side of the images in pixels: a power of two from 8 to 4096"""
    channels: int = 3
    """image channels: 1 gray, 3 RGB, 4 RGBA"""
    g_architecture: str = "skip"
    """architecture of StyleGAN2's generator: skip, residual or plain (figure 7)"""
    d_architecture: str = "residual"
    """architecture of StyleGAN2's discriminator: skip, residual or plain"""
    d: str = "own"
    """the discriminator: own, that of the architecture, or projected (Sauer et al. 2021), which uses the features of
    EfficientNet-Lite0 and learns from few images in a fraction of the steps; projected also selects the hinge loss,
    without R1 and path length"""
    d_side: int | None = None
    """projected discriminator: side to which images are enlarged for the features, a multiple of 32; by default twice
    the resolution, from 128 to 224"""

    def __post_init__(self) -> None:
        check_arch(self.arch)
        check_sizes(self.resolution, self.channels, self.g_architecture)
        check_sizes(self.resolution, self.channels, self.d_architecture)
        if self.d not in DISCRIMINATOR_KINDS:
            raise UserError(f"--d must be {' or '.join(DISCRIMINATOR_KINDS)}, not {self.d!r}")
        if self.d_side is not None and (self.d_side < 64 or self.d_side % 32):
            raise UserError(f"--d_side must be 64, 96, 128 or a further multiple of 32, not {self.d_side}")
        sizes = {field.name: getattr(self, field.name) for field in fields(self) if type(field.default) is int}
        for name, size in sizes.items():
            if size < 1:
                raise UserError(f"{name} must be at least 1, not {size}")
        if "channel_base" in sizes:
            feature_maps(self.resolution, sizes["channel_base"], sizes["channel_max"])

    def image_sizes(self, like: "Generator | None" = None, given: Collection[str] = ()) -> tuple[int, int]:
        """Return (resolution, channels) of the images.

        Args:
            like: A generator to start from, whose sizes are used for fields that are not in `given`.
            given: The fields that the user set by flags.
        """
        if like is None:
            return self.resolution, self.channels
        resolution = self.resolution if "resolution" in given else like.img_resolution
        return resolution, self.channels if "channels" in given else like.img_channels

    def build(
        self, num_classes: int = 0, like: "Generator | None" = None, given: Collection[str] = ()
    ) -> "tuple[Generator, Discriminator, Generator]":
        """Build G, D and G_ema with new weights.

        Args:
            num_classes: Number of classes, or length of the label vectors; 0 without labels.
            like: A generator to start from. All sizes are those of this generator, except the number of classes and, if
                flags set them, resolution and channels.
            given: The fields that the user set by flags.

        Raises:
            UserError: The generator to start from has no discriminator, or contradicts a flag.
        """
        from stylegan2.networks.registry import DISCRIMINATORS, GENERATORS
        from stylegan2.runtime.registry import built_as

        resolution, channels = self.image_sizes(like, given)
        sizes = {**asdict(self), "architecture": self.g_architecture}
        if like is not None:
            self._check_like(built_as(like), given)
            sizes |= built_as(like)
        sizes |= {"img_resolution": resolution, "img_channels": channels, "num_classes": num_classes}
        G, G_ema = GENERATORS.build_from(self.arch, sizes), GENERATORS.build_from(self.arch, sizes)
        if self.d == "projected":
            return G, self._projected(G), G_ema
        return G, DISCRIMINATORS.build_from(self.arch, {**sizes, "architecture": self.d_architecture}), G_ema

    def _check_like(self, settings: dict[str, object], given: Collection[str]) -> None:
        arch = settings["name"]
        if arch not in _discriminators():
            raise UserError(f"a {arch} generator cannot be trained further here: it has no discriminator")
        if arch != self.arch:
            raise UserError(f"the generator to start from is a {arch}: give --arch {arch}, which sets its losses too")
        settings["g_architecture"] = settings.get("architecture", self.g_architecture)
        for name in sorted(set(given) & {field.name for field in fields(self)} & settings.keys()):
            if getattr(self, name) != settings[name]:
                raise UserError(
                    f"--{name} {getattr(self, name)} contradicts the generator to start from, which has"
                    f" {settings[name]}: leave it out"
                )

    def _projected(self, G: "Generator") -> "Discriminator":
        """Build the projected discriminator for a generator, with the features of EfficientNet-Lite0."""
        from psp.perception.efficientnet_lite0 import load_efficientnet_lite0
        from stylegan2.networks import projected

        side = self.d_side or max(SMALLEST_SIDE, min(2 * G.img_resolution, LARGEST_SIDE))
        return projected.Discriminator(load_efficientnet_lite0(), G.img_channels, side, G.num_classes)


def network_settings() -> type[CommonNetworkSettings]:
    """Build a dataclass with a field for each argument of a generator or discriminator.

    If several architectures have an argument, the default is that of StyleGAN2, or else of the first architecture.
    """
    arguments: dict[str, tuple[Parameter, list[str]]] = {}
    for arch in architectures():
        for name, parameter in _arguments(arch).items():
            arguments.setdefault(name, (parameter, []))[1].append(arch)
    flags = [(name, _flag(parameter, archs), parameter.default) for name, (parameter, archs) in arguments.items()]
    return make_dataclass(
        "NetworkSettings",
        flags,
        bases=(CommonNetworkSettings,),
        frozen=True,
        namespace={"__doc__": "Sizes of generator and discriminator."},
    )


def architectures() -> list[str]:
    """Return the names of the generators that can be trained, beginning with StyleGAN2."""
    trained = [name for name in _discriminators() if name in _generators()]
    return sorted(trained, key=lambda name: name != DEFAULT_ARCH)


def _generators() -> dict[str, Part]:
    return read_parts(NETWORKS, "GENERATORS.register")


def _discriminators() -> dict[str, Part]:
    return read_parts(NETWORKS, "DISCRIMINATORS.register")


def preset_names() -> list[str]:
    """Return the names of the presets of all architectures, without duplicates: the keys of PRESETS in their files."""
    tables = [read_source(name).constants.get("PRESETS") for name in modules_with("PRESETS", NETWORKS)]
    keys = [ast.literal_eval(key) for table in tables if isinstance(table, ast.Dict) for key in table.keys if key]
    return sorted(set(keys), key=lambda name: (name.startswith("config"), name))


def check_arch(arch: str) -> None:
    """Raise a UserError if there is no generator of that name that can be trained."""
    if arch not in architectures():
        raise UserError(f"there is no architecture {arch!r}: choose one of {', '.join(architectures())}")


def training_presets(arch: str) -> Mapping[str, Preset]:
    """Return {name: preset} of a generator."""
    from stylegan2.networks.registry import GENERATORS

    return getattr(GENERATORS[arch], "presets", {})


def chosen_settings(given: Mapping[str, str]) -> Settings:
    """Return the settings that --arch, --preset and --d stand for.

    These are the published settings of the architecture, changed by the preset. Without --arch, the architecture is the
    first one that has the preset.

    Args:
        given: {"--flag": first word after it} of the command line.

    Raises:
        UserError: There is no such architecture or preset.
    """
    name, arch = given.get("--preset"), given.get("--arch")
    if arch is None:
        having = (arch for arch in architectures() if name is None or name in training_presets(arch))
        arch = next(having, DEFAULT_ARCH)
    check_arch(arch)
    from stylegan2.networks.registry import GENERATORS

    published: Settings = getattr(GENERATORS[arch], "published", {})
    own_defaults = dict(_other_defaults(arch))
    of_d = PROJECTED if given.get("--d") == "projected" else {}
    return {"arch": arch, **own_defaults, **published, **_preset(name, arch, given), **of_d}


def _arguments(arch: str) -> dict[str, Parameter]:
    """Return {name: argument} of the arguments of a generator and its discriminator that have a flag."""
    of_D, of_G = ({p.name: p for p in parts[arch].parameters} for parts in (_discriminators(), _generators()))
    return {name: parameter for name, parameter in {**of_G, **of_D, **of_G}.items() if name not in WITHOUT_FLAG}


def _other_defaults(arch: str) -> Iterator[tuple[str, object]]:
    """Yield (name, default) of the arguments of an architecture whose default differs from that of the flag.

    The default of a flag is that of the first architecture that has the argument.
    """
    firsts: dict[str, object] = {}
    for other in architectures():
        firsts = {name: entry.default for name, entry in _arguments(other).items()} | firsts
    for name, entry in _arguments(arch).items():
        if entry.default != firsts[name]:
            yield name, entry.default


def _flag(parameter: Parameter, archs: list[str]) -> object:
    """Annotate a flag with its help text, which names the architectures if not all of them have the flag."""
    whose = "" if len(archs) == len(architectures()) else f" ({', '.join(archs)})"
    return Annotated[parameter.type, tyro.conf.arg(help=parameter.help + whose)]


def _preset(name: str | None, arch: str, given: Mapping[str, str]) -> Settings:
    """Return the settings of a preset of an architecture, or {} without a name.

    Raises:
        UserError: The architecture has no preset of that name.
    """
    presets = training_presets(arch)
    if name is None:
        return {}
    if name not in presets:
        others = [other for other in architectures() if name in training_presets(other)]
        elsewhere = f" (it is one of --arch {others[0]})" if others else ""
        raise UserError(f"there is no preset {name!r}{elsewhere}: choose one of {', '.join(presets) or '(none)'}")
    preset = presets[name]
    return preset(_number(given, "--resolution") or 64, _number(given, "--batch_size")) if callable(preset) else preset


def _number(given: Mapping[str, str], flag: str) -> int | None:
    """Return the value of a flag, or None if it is not a positive number, which is reported when it is parsed."""
    word = given.get(flag, "")
    return int(word) or None if word.isdecimal() else None
