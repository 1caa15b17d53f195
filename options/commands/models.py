"""The settings of scripts/models.py."""

from dataclasses import dataclass
from typing import Literal

import tyro


@dataclass(frozen=True)
class Models:
    """List the models that have a name, with their kind, size, licence and place.

    shipped: part of this package; installed: part of another package; here: on this machine; to download: `psp download
    NAME` downloads it. The name can be used in place of a file in all commands that take a model.
    """

    word: tyro.conf.Positional[str] = ""
    """list only models with this word in their line, such as cars, e4e or shipped"""
    kind: Literal["all", "psp", "generator", "directions", "network"] = "all"
    """pSp models, generators, directions for editing, or the networks that losses, metrics and detectors use"""
