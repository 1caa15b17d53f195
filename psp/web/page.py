"""The page: a photograph and its faces on the left, what becomes of the chosen one on the right."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import gradio as gr

from psp.inference.predictor import Face, Predictor
from psp.web import studio
from psp.web.events import as_sentence, bind
from psp.web.look import HEADER
from psp.web.tabs import build_edit, build_generate, build_invert, build_mix, build_restore, build_toonify
from psp.web.upload import Subject, first_of, gallery_of, upload
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.progress import listening

SWEEP_SECONDS, KEEP_SECONDS = 600, 3600  # how often files of pictures are looked through, and how old they get
INVITATION = "Drop a photograph here, click to choose one, or paste it"
FOOTER = (
    "Faces are drawn at {side} x {side} pixels by {names}. Photographs are forgotten after {minutes:.0f} minutes, and "
    "when the page's program ends."
)


def build_page(models: Mapping[str, Predictor], names: Sequence[str], examples: Sequence[str]) -> gr.Blocks:
    """Lay out the page.

    Args:
        models: {task: model}; a tab whose model is not there is not shown.
        names: What the models are called.
        examples: Files of photographs to try.
    """
    inversion = models[studio.INVERSION]
    with gr.Blocks(title="psp", analytics_enabled=False, delete_cache=(SWEEP_SECONDS, KEEP_SECONDS)) as page:
        gr.HTML(HEADER)
        subject = Subject(
            gr.State(None, time_to_live=KEEP_SECONDS), gr.State(None, time_to_live=KEEP_SECONDS), gr.State(0)
        )
        opened, number = gr.State(0), gr.State(0)
        with gr.Row(equal_height=False):
            with gr.Column(scale=4, min_width=300):
                picture = upload("Your photograph", INVITATION, 340, "photograph")
                message = gr.Markdown(visible=False, elem_classes="psp-message", elem_id="message")
                faces = gr.Gallery(
                    label="Several faces: choose one", visible=False, interactive=False, allow_preview=False,
                    columns=5, height="auto", object_fit="cover", buttons=[], elem_id="faces",
                    elem_classes="psp-gallery",
                )  # fmt: skip
                likeness = gr.Radio(
                    list(studio.LIKENESS), value="Quick", label="Likeness", elem_id="likeness",
                    info="Quick reads the face once. Closer improves the numbers step by step, and Closest also adapts "
                    "the generator to this face: give it a minute.",
                )  # fmt: skip
                samples = gallery_of(examples, "Or try one of these", "examples")
            with gr.Column(scale=8, min_width=480), gr.Tabs():
                build_invert(subject)
                build_edit(inversion, subject)
                build_mix(inversion, subject, examples)
                build_restore(models, subject)
                build_toonify(models, subject)
                generated = build_generate(inversion)
        footer = FOOTER.format(side=inversion.resolution, names=", ".join(names), minutes=KEEP_SECONDS / 60)
        gr.Markdown(footer, elem_classes="psp-footer")

        shown = [subject.photograph, picture, message, faces, number, opened]
        bind(picture.upload, open_upload, [picture, opened], shown)
        bind(picture.clear, forget, [opened], shown)
        for gallery in (samples, generated):
            bind(gallery.select, open_selected, [gallery, opened], shown, show_progress="minimal")
        bind(faces.select, choose_face, [opened], [number, opened])
        bind(
            partial(gr.on, [opened.change, likeness.change]), partial(find_codes, inversion),
            [subject.photograph, number, likeness, subject.turn], [subject.face, subject.turn],
            show_progress_on=[picture],
        )  # fmt: skip
    return page


# ------------------------------------------------------------------------------------------------ events


def open_upload(file: str | None, opened: int) -> tuple[Any, ...]:
    """Read what was uploaded: the values of photograph, picture, message, faces, number and opened."""
    if file is None:
        return forget(opened)
    try:
        photograph = studio.open_photograph(file)
    except UserError as error:
        return None, None, said(as_sentence(str(error))), gr.Gallery(None, visible=False), 0, opened + 1
    several = len(photograph.crops) > 1
    faces = gr.Gallery(studio.thumbnails(photograph) if several else None, visible=several, selected_index=None)
    return photograph, photograph.image, said(photograph.notice), faces, 0, opened + 1


def open_selected(gallery: list[tuple[str, str | None]], opened: int, event: gr.SelectData) -> tuple[Any, ...]:
    """Open a picture of a gallery as if it had been uploaded."""
    return open_upload(first_of(gallery[event.index]), opened)


def forget(opened: int) -> tuple[Any, ...]:
    """Return the values of a page without a photograph."""
    return None, None, said(""), gr.Gallery(None, visible=False), 0, opened + 1


def said(sentence: str) -> gr.Markdown:
    """Return what the message becomes: it is there only if it says something."""
    return gr.Markdown(sentence, visible=bool(sentence))


def choose_face(opened: int, event: gr.SelectData) -> tuple[int, int]:
    """Take another of the faces: its number, and that there is something new."""
    return event.index, opened + 1


def find_codes(
    model: Predictor,
    photograph: studio.Photograph | None,
    number: int,
    likeness: str,
    turn: int,
    progress: gr.Progress = gr.Progress(),  # noqa: B008, Gradio finds it by its default
) -> tuple[Face | None, int]:
    """Invert the chosen face, and say that the tabs have something new to show."""
    if photograph is None:
        return None, turn + 1
    with listening(partial(report, progress)):
        return studio.invert(model, photograph, number, likeness), turn + 1


def report(progress: gr.Progress, what: str, done: int, total: int | None) -> None:
    """Show on the page how far some work is."""
    progress((done, total), desc=what)
