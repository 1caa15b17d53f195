"""The settings of scripts/convert.py."""

from dataclasses import dataclass
from pathlib import Path

import tyro

from options.results import Results
from stylegan2.runtime.errors import UserError

USES = {
    ("to", "official-psp"): ("SRC", "OUT"),
    ("to", "rosinality"): ("SRC", "OUT"),
    ("to", "ours"): ("SRC", "OUT"),
    ("inspect",): ("FILE",),
    ("verify",): ("FILE",),
}
SUFFIXES = {"to official-psp": ".pt", "to rosinality": ".pt", "to ours": ".safetensors"}  # {conversion: suffix of OUT}
USAGE = " | ".join(" ".join([*command, *arguments]) for command, arguments in USES.items())


@dataclass(frozen=True)
class Convert(Results):
    """Convert published checkpoints to those of this package and back.

    `to official-psp SRC OUT` writes a model in the format of the published code (.pt). `to rosinality SRC OUT` writes a
    generator in the format of rosinality/stylegan2-pytorch (.pt). `to ours SRC OUT` writes a published pSp, e4e or
    ReStyle file or a generator (rosinality, NVIDIA, lucidrains) as a .safetensors file of this package. `inspect FILE`
    describes a file, an experiment folder or a shipped model. `verify FILE` compares the outputs of a published file in
    this package with the published formulas, as `to ours` and `to rosinality` do before they write.
    """

    words: tyro.conf.Positional[tuple[str, ...]] = ()
    """the conversion, and the files"""

    def __post_init__(self) -> None:
        if not any(
            self.words[: len(command)] == command and len(self.words) == len(command) + len(arguments)
            for command, arguments in USES.items()
        ):
            given = f"not {' '.join(self.words)!r}" if self.words else "and none was given"
            raise UserError(f"what to do is one of {USAGE}; {given}")
        suffix = SUFFIXES.get(self.command)
        if suffix and self.out.suffix != suffix:
            raise UserError(f"OUT must end in {suffix}, not {self.out.name!r}")

    @property
    def command(self) -> str:
        """Return the conversion: to official-psp, to rosinality, to ours, inspect or verify."""
        return " ".join(self.words[:2] if self.words[0] == "to" else self.words[:1])

    @property
    def source(self) -> Path:
        """Return the file, folder or name to read."""
        return Path(self.words[2] if self.words[0] == "to" else self.words[1])

    @property
    def out(self) -> Path:
        """Return the file to write, which only the conversions with `to` have."""
        return Path(self.words[3])
