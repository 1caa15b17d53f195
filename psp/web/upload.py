"""What the tabs share: the photograph and the face they work on, and components that take and show pictures."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr
from PIL import Image

from psp.web.studio import SHOWN


@dataclass(frozen=True)
class Subject:
    """What a visitor is working on."""

    photograph: gr.State
    """a `studio.Photograph`, or None"""
    face: gr.State
    """the `Face` that was chosen in it, or None"""
    turn: gr.State
    """a number that grows whenever there is a new face, so that its `change` tells the tabs"""


def upload(label: str, placeholder: str, height: int, identifier: str) -> gr.Image:
    """Return a place for a photograph, whose value is the path of the file as it came.

    Args:
        label: Its title.
        placeholder: What it says while it is empty.
        height: In pixels of the page.
        identifier: Of the element on the page.
    """
    image = gr.Image(
        label=label, placeholder=placeholder, height=height, elem_id=identifier, type="filepath", format="jpeg",
        sources=["upload", "clipboard"], buttons=["fullscreen"],
    )  # fmt: skip
    image.preprocess = path_of  # Gradio's own would decode the file before our guarded reader sees it
    return image


def path_of(payload: Any) -> str | None:
    """Return the path of an uploaded file, which Gradio has found to lie in its folder of uploads."""
    return None if payload is None else payload.path


def before_and_after(label: str, identifier: str) -> gr.ImageSlider:
    """Return a component that shows two pictures of which one lies over the other."""
    return gr.ImageSlider(
        label=label, type="pil", format="png", interactive=False,
        buttons=["download", "fullscreen"], elem_id=identifier, elem_classes="psp-result",
    )  # fmt: skip


def result(label: str, identifier: str, visible: bool = True) -> gr.Image:
    """Return a component that shows a picture and lets it be downloaded."""
    return gr.Image(
        label=label, type="pil", format="png", interactive=False, buttons=["download", "fullscreen"],
        elem_id=identifier, elem_classes="psp-result", visible=visible,
    )  # fmt: skip


def gallery_of(files: Sequence[str], label: str, identifier: str) -> gr.Gallery:
    """Return pictures of which one is chosen by a click."""
    return gr.Gallery(
        list(files), label=label, interactive=False, allow_preview=False, columns=3, height="auto", object_fit="cover",
        buttons=[], elem_id=identifier, elem_classes="psp-gallery",
    )  # fmt: skip


def help_text(text: str) -> gr.Markdown:
    """Return a short help above a tab's controls."""
    return gr.Markdown(text, elem_classes="psp-help")


def first_of(entry: Any) -> Any:
    """Return the picture of a gallery's entry, which may be a pair of it and a caption."""
    return entry[0] if isinstance(entry, tuple | list) else entry


def as_large_as_shown(small: Image.Image) -> Image.Image:
    """Enlarge a tiny picture so that each of its pixels is a square."""
    return small.resize((SHOWN, SHOWN), Image.Resampling.NEAREST)
