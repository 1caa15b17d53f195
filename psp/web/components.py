"""State, components and events that the parts of the page share."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr
from PIL import Image

from psp.web.studio import SHOWN
from stylegan2.runtime.errors import UserError


@dataclass(frozen=True)
class Subject:
    """The state of a visitor's session."""

    photograph: gr.State
    """a `studio.Photograph`, or None"""
    face: gr.State
    """the inverted `Face` that was chosen in the photograph, or None"""
    turn: gr.State
    """a number that increases with every new face, so that its `change` event updates the tabs"""


def upload(label: str, placeholder: str, height: int, identifier: str) -> gr.Image:
    """Build an input for a photograph, whose value is the path of the uploaded file.

    Args:
        label: Title of the input.
        placeholder: Text that is shown while the input is empty.
        height: Height in pixels of the page.
        identifier: Id of the HTML element.
    """
    image = gr.Image(
        label=label, placeholder=placeholder, height=height, elem_id=identifier, type="filepath", format="jpeg",
        sources=["upload", "clipboard"], buttons=["fullscreen"],
    )  # fmt: skip
    image.preprocess = path_of  # Gradio's own would decode the file without our checks
    return image


def path_of(payload: Any) -> str | None:
    """Return the path of an uploaded file; Gradio has verified that it is in the folder of uploads."""
    return None if payload is None else payload.path


def before_and_after(label: str, identifier: str) -> gr.ImageSlider:
    """Build a component that compares two images with a slider."""
    return gr.ImageSlider(
        label=label, type="pil", format="png", interactive=False,
        buttons=["download", "fullscreen"], elem_id=identifier, elem_classes="psp-result",
    )  # fmt: skip


def result(label: str, identifier: str, visible: bool = True) -> gr.Image:
    """Build a component that shows an image and offers to download it."""
    return gr.Image(
        label=label, type="pil", format="png", interactive=False, buttons=["download", "fullscreen"],
        elem_id=identifier, elem_classes="psp-result", visible=visible,
    )  # fmt: skip


def gallery_of(files: Sequence[str], label: str, identifier: str) -> gr.Gallery:
    """Build a gallery of images, of which the visitor selects one by a click."""
    return gr.Gallery(
        list(files), label=label, interactive=False, allow_preview=False, columns=3, height="auto", object_fit="cover",
        buttons=[], elem_id=identifier, elem_classes="psp-gallery",
    )  # fmt: skip


def help_text(text: str) -> gr.Markdown:
    """Build a short help text for a tab."""
    return gr.Markdown(text, elem_classes="psp-help")


def first_of(entry: str | tuple[str, str | None]) -> str:
    """Return the image of an entry of a gallery, which is the image or a pair of image and caption."""
    return entry if isinstance(entry, str) else entry[0]


def as_large_as_shown(small: Image.Image) -> Image.Image:
    """Enlarge a small image to SHOWN pixels without smoothing, so that its pixels are visible."""
    return small.resize((SHOWN, SHOWN), Image.Resampling.NEAREST)


QUEUE = "networks"  # name of the queue; its events run one at a time


def bind(
    trigger: Callable[..., object],
    function: Callable[..., object],
    inputs: Sequence[object] = (),
    outputs: Sequence[object] = (),
    **settings: object,
) -> Any:
    """Let an event call a function that uses the networks.

    Args:
        trigger: Event of a component, such as `button.click`, or `then` of an event that this function returned.
        function: The function; its `UserError` is shown on the page.
        inputs: Components whose values are passed to the function.
        outputs: Components whose values the function returns.
        settings: Further settings of Gradio's events.

    Returns:
        Gradio's event, whose `then` triggers a following one.
    """
    settings = {"concurrency_id": QUEUE, "concurrency_limit": 1, "api_visibility": "private", **settings}
    return trigger(sentence_for_mistakes(function), list(inputs), list(outputs), **settings)


def sentence_for_mistakes(function: Callable[..., object]) -> Callable[..., object]:
    """Wrap a function so that its `UserError` is shown on the page as one sentence."""

    @functools.wraps(function)
    def call(*arguments: object) -> object:
        try:
            return function(*arguments)
        except UserError as error:
            raise gr.Error(as_sentence(str(error)), duration=None, print_exception=False) from error

    return call


def as_sentence(message: str) -> str:
    """Convert a message of the library to a sentence with a capital letter and a full stop."""
    message = message.strip()
    return message[:1].upper() + message[1:] + ("" if message.endswith((".", "!", "?")) else ".")
