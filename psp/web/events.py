"""Events of the page: all of them share one queue for the networks, and show user errors as one sentence."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr

from stylegan2.runtime.errors import UserError

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
