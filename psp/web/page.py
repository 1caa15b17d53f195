"""The page: the photograph and its faces on the left, and the tabs with results for the chosen face on the right."""

from collections.abc import Mapping, Sequence
from functools import partial

import gradio as gr

from psp.inference.predictor import Face, Predictor
from psp.web import studio
from psp.web.components import Subject, as_sentence, bind, first_of, gallery_of, upload
from psp.web.look import HEADER
from psp.web.tabs import build_edit, build_generate, build_invert, build_mix, build_restore, build_toonify
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.progress import listening

SWEEP_SECONDS, KEEP_SECONDS = 600, 3600  # interval at which old image files are deleted, and their largest age
INVITATION = "Drop a photograph here, click to choose one, or paste it"
FOOTER = (
    "Faces are drawn at {side} x {side} pixels by {names}. Photographs are forgotten after {minutes:.0f} minutes, and "
    "when the page's program ends."
)


def build_page(models: Mapping[str, Predictor], names: Sequence[str], examples: Sequence[str]) -> gr.Blocks:
    """Lay out the page.

    Args:
        models: {task: model}; a tab is shown only if the model of its task is in it.
        names: Names of the models, which the page shows.
        examples: Files of example photographs.
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


def open_upload(file: str | None, opened: int) -> tuple[object, ...]:
    """Open an uploaded photograph.

    Args:
        file: Path of the file; None if the photograph was removed.
        opened: Number of photographs that were opened so far.

    Returns:
        The new values of photograph, picture, message, faces, number and opened.
    """
    if file is None:
        return forget(opened)
    try:
        photograph = studio.open_photograph(file)
    except UserError as error:
        return None, None, show_message(as_sentence(str(error))), gr.Gallery(None, visible=False), 0, opened + 1
    several = len(photograph.crops) > 1
    faces = gr.Gallery(studio.thumbnails(photograph) if several else None, visible=several, selected_index=None)
    return photograph, photograph.image, show_message(photograph.notice), faces, 0, opened + 1


def open_selected(gallery: list[tuple[str, str | None]], opened: int, event: gr.SelectData) -> tuple[object, ...]:
    """Open the selected image of a gallery as if it had been uploaded; returns the values of `open_upload`."""
    return open_upload(first_of(gallery[event.index]), opened)


def forget(opened: int) -> tuple[object, ...]:
    """Remove the photograph; returns the values of `open_upload`."""
    return None, None, show_message(""), gr.Gallery(None, visible=False), 0, opened + 1


def show_message(sentence: str) -> gr.Markdown:
    """Return a message for the page, which is hidden if the sentence is empty."""
    return gr.Markdown(sentence, visible=bool(sentence))


def choose_face(opened: int, event: gr.SelectData) -> tuple[int, int]:
    """Choose another face of the photograph; returns its number and the next value of `opened`."""
    return event.index, opened + 1


def find_codes(
    model: Predictor,
    photograph: studio.Photograph | None,
    number: int,
    likeness: str,
    turn: int,
    progress: gr.Progress = gr.Progress(),  # noqa: B008, Gradio finds it by its default
) -> tuple[Face | None, int]:
    """Invert the chosen face.

    Args:
        model: The inversion model.
        photograph: The photograph; None if there is none.
        number: Number of the face in the photograph.
        likeness: A key of `studio.LIKENESS`.
        turn: Number of faces that were inverted so far.
        progress: Gradio's progress bar.

    Returns:
        The inverted face or None, and the next value of `turn`, whose change updates the tabs.
    """
    if photograph is None:
        return None, turn + 1
    with listening(partial(show_progress, progress)):
        return studio.invert(model, photograph, number, likeness), turn + 1


def show_progress(progress: gr.Progress, what: str, done: int, total: int | None) -> None:
    """Show the progress of a computation on the page."""
    progress((done, total), desc=what)
