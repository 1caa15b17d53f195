"""The commands of `psp`, each with a summary, a script, and a file of settings in this folder.

The files in this folder do not import PyTorch, so that `psp NAME --help` and mistakes in a command line are shown at
once. A script is imported after its settings have been parsed. A new command needs a file of settings, a script and a
line in the table.
"""

import difflib
import importlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

import psp
from options.parse import exit_on_user_error, parse
from stylegan2.runtime.errors import UserError


@dataclass(frozen=True)
class Command:
    """A command, which is the first word after `psp`."""

    script: str
    """file in scripts/ whose `main` is called; options/commands/ has a file of the same name"""
    settings: str
    """name of the dataclass in options/commands/; `PRESETS` in the same file are its presets, if there are any"""
    summary: str
    """a short description for `psp --help`"""
    first: str = ""
    """the flag that words before all flags belong to: `psp invert me.jpg` means `psp invert --data_path me.jpg`"""


DATA = "data_path"
COMMANDS = {
    "invert": Command("inference", "Inference", "invert photos: find their latent codes and render these", DATA),
    "translate": Command("inference", "Inference", "translate photos, drawings or label maps with any task", DATA),
    "edit": Command("edit", "Edit", "edit a photo or a clip, or samples, along directions"),
    "mix": Command("style_mixing", "StyleMixing", "translate each photo to several outputs with random styles", DATA),
    "project": Command("project", "Project", "project pictures to latents by optimisation", "target"),
    "generate": Command("generate", "Generate", "render pictures that show what a generator has learned"),
    "directions": Command("directions", "FindDirections", "find directions in W for editing"),
    "blend": Command("blend", "Blend", "swap layers between two generators"),
    "train": Command("train_psp", "TrainPSp", "train an encoder"),
    "train-gan": Command("train_stylegan2", "TrainStyleGAN2", "train a generator"),
    "train-segmenter": Command(
        "train_segmenter", "TrainSegmenter", "train the segmenter that evaluates label-to-face translation"
    ),
    "evaluate": Command("evaluate", "Evaluate", "evaluate encoders, or a generator with --generator"),
    "evaluate-generator": Command("evaluate_generator", "EvaluateGenerator", "evaluate a generator"),
    "doctor": Command("doctor", "Doctor", "examine a folder of pictures and propose commands to train on it"),
    "prepare": Command("prepare_data", "PrepareData", "check, crop, resize and pack photos for training", DATA),
    "align": Command("align_faces", "AlignFaces", "align faces and crop them out of photos, as in FFHQ", DATA),
    "draw-sketches": Command("draw_sketches", "DrawSketches", "turn photos into line drawings", DATA),
    "convert": Command("convert", "Convert", "convert published checkpoints to this package's format and back"),
    "export": Command(
        "export", "Export", "export a trained model without its training state, to share it", "checkpoint_path"
    ),
    "export-onnx": Command("export_onnx", "ExportOnnx", "export a model to ONNX (also: export onnx MODEL)"),
    "web": Command("web", "Web", "serve a page for the browser: invert, edit, mix, restore, toonify, generate"),
    "models": Command("models", "Models", "list the models that have a name, and where to get them"),
    "download": Command("download", "DownloadModels", "download published models by name"),
    "demo": Command("demo", "Demo", "run a demo of everything, in minutes"),
}


def main() -> NoReturn:
    """Run the command that is named after `psp`, and exit with its code."""
    words = sys.argv[1:]
    with exit_on_user_error():
        name, *args = words or ["--help"]
        if name in ("-h", "--help", "help"):
            print(help_text())
            sys.exit(0 if words else 2)
        if name == "--version":
            print(psp.__version__)
            sys.exit(0)
        run(name, args)


def help_text() -> str:
    """Return the text of `psp --help`."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {command.summary}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            "usage: psp COMMAND [--flags]",
            "",
            "Train generators and encoders, and invert, edit and translate images with them.",
            "",
            *lines,
            "",
            "psp COMMAND --help lists a command's flags; psp --version shows the version.",
        ]
    )


def resolved(name: str, args: Sequence[str]) -> tuple[str, Sequence[str]]:
    """Return the name of the command to run and its arguments, some of which select another command."""
    flags = {arg.partition("=")[0] for arg in args}
    if name == "export" and args[:1] == ["onnx"]:
        return "export-onnx", args[1:]
    if name == "invert" and "--direction" in flags:
        return "edit", args  # an inversion with an edit
    if name == "evaluate" and "--generator" in flags:
        return "evaluate-generator", args
    return name, args


def run(name: str, args: Sequence[str]) -> NoReturn:
    """Parse the settings of a command, import its script, and exit with the code that its `main` returns.

    Raises:
        UserError: There is no command of that name.
    """
    if name not in COMMANDS:
        nearest = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f"did you mean {nearest[0]}?" if nearest else "psp --help lists them"
        raise UserError(f"there is no command {name!r}: {hint}")
    name, args = resolved(name, args)
    command = COMMANDS[name]
    args = with_positional(command, args)
    module = importlib.import_module(f"options.commands.{command.script}")
    settings = getattr(module, command.settings)
    sys.argv = [f"psp {name}", *args]  # the name of the program in the help text and in config.yaml
    with exit_on_user_error(settings):
        given = parse(settings, getattr(module, "PRESETS", None), args=args)
        script = importlib.import_module(f"scripts.{command.script}")
        sys.exit(script.main(given) or 0)


def with_positional(command: Command, args: Sequence[str]) -> list[str]:
    """Put the flag that the first words belong to before them, if they are not flags."""
    stands = command.first and args and not args[0].startswith("-")
    return [f"--{command.first}", *args] if stands else list(args)
