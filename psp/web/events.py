"""What every event of the page shares: one queue for the networks, and a user's mistake as one sentence."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr

from stylegan2.runtime.errors import UserError

QUEUE = "networks"  # the events of this name wait for each other: the networks work for one at a time


def bind(
    trigger: Callable[..., Any],
    function: Callable[..., Any],
    inputs: Sequence[Any] = (),
    outputs: Sequence[Any] = (),
    **settings: Any,
) -> Any:
    """Let a trigger, such as `button.click`, call a function that uses the networks, and return what can follow it.

    Args:
        trigger: Of a component, or `then` of what this function returned.
        function: Its `UserError` is shown as it is.
        inputs: Components whose values it gets.
        outputs: Components that get what it returns.
        settings: Further ones of Gradio's events.
    """
    settings = {"concurrency_id": QUEUE, "concurrency_limit": 1, "api_visibility": "private", **settings}
    return trigger(sentence_for_mistakes(function), list(inputs), list(outputs), **settings)


def sentence_for_mistakes(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the same function, which says a user's mistake on the page."""

    @functools.wraps(function)
    def said(*arguments: Any) -> Any:
        try:
            return function(*arguments)
        except UserError as error:
            raise gr.Error(as_sentence(str(error)), duration=None, print_exception=False) from error

    return said


def as_sentence(message: str) -> str:
    """Return a message of the library as a sentence of the page: with a capital and a full stop."""
    message = message.strip()
    return message[:1].upper() + message[1:] + ("" if message.endswith((".", "!", "?")) else ".")
