"""The settings of scripts/models.py."""

from dataclasses import dataclass
from typing import Literal

import tyro


@dataclass(frozen=True)
class Models:
    """List models by name: what each is, how large, under which licence, and where it is.

    shipped: comes with this package; installed: comes with another package; here: on this machine; to download: `psp
    download NAME` gets it. A name stands for a file wherever a command takes a model.
    """

    word: tyro.conf.Positional[str] = ""
    """list only what has this in its line, such as cars, e4e or shipped"""
    kind: Literal["all", "psp", "generator", "directions", "network"] = "all"
    """pSp models, generators, directions to edit along, or the networks that losses, metrics and detectors use"""
