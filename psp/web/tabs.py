"""The tabs of the page: each applies one task to the chosen face, and exists if there is a model for that task."""

from collections.abc import Mapping, Sequence
from functools import partial

import gradio as gr
from PIL import Image, ImageChops

from psp.inference.predictor import Face, Predictor
from psp.web import studio
from psp.web.components import (
    Subject,
    as_large_as_shown,
    as_sentence,
    before_and_after,
    bind,
    first_of,
    gallery_of,
    help_text,
    result,
    upload,
)
from stylegan2.runtime.errors import UserError

STRENGTH = 3.0  # range of the sliders in standard deviations, slightly beyond the samples of the generator
TITLES = {"yaw": "Turn the head", "age": "Age", "bald": "Baldness", "long_hair": "Long hair"}
"""{direction: title on the page}; other directions have their name as title."""
FACTORS = (2, 4, 8, 16)
PEOPLE = 8
ROW_TITLES = {"coarse": "Pose, shape", "medium": "Features", "fine": "Colours, light"}
Pair = tuple[Image.Image, Image.Image] | None


# ------------------------------------------------------------------------------------------------ invert


def build_invert(subject: Subject) -> None:
    """Build the tab that compares the face with the image that the generator renders from its codes."""
    with gr.Tab("Invert", id="invert"):
        help_text(
            "How the model describes the face: it was turned into a few numbers, and drawn again from these "
            "alone. Move the handle between the photograph and the drawing."
        )
        with gr.Row():
            face = before_and_after("Photograph | from its codes", "inverted")
            whole = result("Back in the photograph", "inverted_whole")
        bind(
            subject.turn.change, show_inverted, [subject.photograph, subject.face], [face, whole],
            show_progress="minimal",
        )  # fmt: skip


def show_inverted(photograph: studio.Photograph | None, face: Face | None) -> tuple[Pair, Image.Image | None]:
    """Return the face before and after inversion, and the photograph with the inverted face."""
    if photograph is None or face is None or face.crop is None:
        return None, None
    return (studio.cut_out(photograph, face.crop), studio.enlarged(face.image)), face.paste_back()


# -------------------------------------------------------------------------------------------------- edit


def build_edit(model: Predictor, subject: Subject) -> None:
    """Build the tab with one slider per direction; there is no such tab for a generator without directions."""
    try:
        names = sorted(model.directions, key=title_of)
    except UserError:
        return
    with gr.Tab("Edit", id="edit"):
        help_text("Move a slider and watch the face. Beyond 2 the results become less realistic.")
        with gr.Row():
            with gr.Column(scale=5, min_width=260):
                with gr.Group():
                    sliders = [
                        gr.Slider(
                            -STRENGTH, STRENGTH, value=0, step=0.1, label=title_of(name), buttons=["reset"],
                            elem_id=f"direction_{name}",
                        )
                        for name in names
                    ]  # fmt: skip
                reset = gr.Button("Reset all", size="sm", elem_id="reset")
            with gr.Column(scale=6, min_width=300):
                face = before_and_after("Before | after", "edited")
                note = gr.Markdown(visible=False, elem_classes="psp-message")
                back = gr.Button("Put it back into the photograph", variant="primary", elem_id="put_back")
                whole = result("Your photograph, edited", "edited_whole", visible=False)
        move, place = partial(show_edited, model, names), partial(show_edited_whole, model, names)
        bind(
            partial(gr.on, [slider.input for slider in sliders] + [slider.change for slider in sliders]), move,
            [subject.face, *sliders], [face, note], trigger_mode="always_last", show_progress="hidden",
        )  # fmt: skip
        bind(subject.turn.change, partial(show_unedited, len(sliders)), [subject.face], [face, note, whole, *sliders])
        bind(reset.click, partial(zeros, len(sliders)), [], sliders, queue=False)
        bind(back.click, place, [subject.face, *sliders], [whole])


def title_of(name: str) -> str:
    """Return the title of a direction on the page."""
    return TITLES.get(name, name.replace("_", " ").capitalize())


def show_edited(
    model: Predictor, names: Sequence[str], face: Face | None, *strengths: float
) -> tuple[Pair, gr.Markdown]:
    """Return the face before and after the edit, and a note if the edit leaves the range of the generator's samples."""
    if face is None:
        return None, gr.Markdown(visible=False)
    edited, warnings = studio.edit(model, face, dict(zip(names, strengths, strict=True)))
    note = " ".join(map(as_sentence, warnings))
    return (studio.enlarged(face.image), studio.enlarged(edited.image)), gr.Markdown(note, visible=bool(note))


def show_edited_whole(model: Predictor, names: Sequence[str], face: Face | None, *strengths: float) -> gr.Image:
    """Return the photograph with the edited face. UserError: there is no face yet."""
    if face is None:
        raise UserError("there is no face yet: give a photograph first")
    edited, _ = studio.edit(model, face, dict(zip(names, strengths, strict=True)))
    return gr.Image(edited.paste_back(), visible=True)


def show_unedited(count: int, face: Face | None) -> tuple[object, ...]:
    """Reset the tab for a new face: the face on both sides, no note, no photograph, and all sliders at 0."""
    pair = None if face is None else (studio.enlarged(face.image), studio.enlarged(face.image))
    return pair, gr.Markdown(visible=False), gr.Image(None, visible=False), *zeros(count)


def zeros(count: int) -> list[float]:
    """Return the initial values of the sliders."""
    return [0.0] * count


# --------------------------------------------------------------------------------------------------- mix


def build_mix(model: Predictor, subject: Subject, examples: Sequence[str]) -> None:
    """Build the tab that replaces some rows of the codes of the face by those of another face."""
    with gr.Tab("Mix", id="mix"):
        help_text(
            "Give a second photograph. Your person takes the coarse numbers of the other (pose and shape), the medium "
            "ones (features), or the fine ones (colours and light)."
        )
        with gr.Row():
            with gr.Column(scale=4, min_width=240):
                other = upload("The other person", "Drop, choose or paste a second photograph", 240, "other")
            with gr.Column(scale=5, min_width=240):
                samples = gallery_of(examples, "Or one of these", "other_examples")
        message = gr.Markdown(visible=False, elem_classes="psp-message", elem_id="other_message")
        style, turn = gr.State(None), gr.State(0)
        with gr.Row():
            mixed = [result(ROW_TITLES[rows], f"mixed_{rows}") for rows in studio.ROWS]
        values = [style, other, message, turn]
        bind(partial(gr.on, [other.upload, other.clear]), partial(find_style, model), [other, turn], values)
        chosen = bind(samples.select, copy_selected, [samples], [other], queue=False)
        bind(chosen.then, partial(find_style, model), [other, turn], values)
        bind(
            partial(gr.on, [turn.change, subject.turn.change]), partial(show_mixed, model),
            [subject.face, style], mixed, show_progress="minimal",
        )  # fmt: skip


def copy_selected(gallery: list[tuple[str, str | None]], event: gr.SelectData) -> str:
    """Return the file of the selected image of a gallery."""
    return first_of(gallery[event.index])


def find_style(model: Predictor, file: str | None, turn: int) -> tuple[object, ...]:
    """Invert the largest face of the second photograph; returns the values of style, picture, message and turn."""
    if file is None:
        return None, None, gr.Markdown(visible=False), turn + 1
    try:
        photograph = studio.open_photograph(file)
    except UserError as error:
        return None, None, gr.Markdown(as_sentence(str(error)), visible=True), turn + 1
    notice = gr.Markdown(photograph.notice, visible=bool(photograph.notice))
    return studio.invert(model, photograph, 0), photograph.image, notice, turn + 1


def show_mixed(model: Predictor, face: Face | None, style: Face | None) -> list[Image.Image | None]:
    """Return the faces with coarse, medium and fine rows of the other face, or None for each if a face is missing."""
    if face is None or style is None:
        return [None] * len(studio.ROWS)
    return [studio.enlarged(mixed.image) for mixed in studio.mix(model, face, style)]


# ----------------------------------------------------------------------------------------------- restore


def build_restore(models: Mapping[str, Predictor], subject: Subject) -> None:
    """Build the tab for inpainting and super-resolution, depending on which of the two models there are."""
    hole, few = models.get(studio.INPAINTING), models.get(studio.SUPER_RESOLUTION)
    if hole is None and few is None:
        return
    with gr.Tab("Restore", id="restore"):
        if hole is not None and few is not None:
            with gr.Tabs():
                with gr.Tab("Fill a hole", id="fill"):
                    build_fill(hole, subject)
                with gr.Tab("Super-resolution", id="sharpen"):
                    build_sharpen(few, subject)
        elif hole is not None:
            build_fill(hole, subject)
        elif few is not None:
            build_sharpen(few, subject)


def build_fill(model: Predictor, subject: Subject) -> None:
    """Build the part of the tab in which a visitor draws a hole on the face and has it filled."""
    help_text("Draw over what should disappear, such as a scratch or a pair of glasses, and fill it.")
    with gr.Row():
        with gr.Column(min_width=300):
            editor = gr.ImageEditor(
                label="The face", type="pil", format="png", sources=(), transforms=(), layers=False,
                brush=gr.Brush(default_size=36, colors=["#ffffff"], color_mode="fixed"), buttons=[],
                canvas_size=(studio.SHOWN, studio.SHOWN), fixed_canvas=True, height=480, elem_id="hole",
            )  # fmt: skip
            button = gr.Button("Fill the hole", variant="primary", elem_id="fill_button")
        with gr.Column(min_width=300):
            face = before_and_after("Before | after", "filled")
            whole = result("Your photograph, completed", "filled_whole", visible=False)
    bind(subject.turn.change, show_for_drawing, [subject.photograph, subject.face], [editor, face, whole])
    bind(
        button.click, partial(show_filled, model), [subject.photograph, subject.face, editor], [face, whole],
        show_progress_on=[face],
    )  # fmt: skip


def show_for_drawing(
    photograph: studio.Photograph | None, face: Face | None
) -> tuple[Image.Image | None, None, gr.Image]:
    """Return the face to draw on, and clear the results."""
    nothing = gr.Image(None, visible=False)
    if photograph is None or face is None or face.crop is None:
        return None, None, nothing
    return studio.cut_out(photograph, face.crop), None, nothing


def show_filled(
    model: Predictor,
    photograph: studio.Photograph | None,
    face: Face | None,
    drawn: Mapping[str, Sequence[Image.Image]] | None,
) -> tuple[Pair, gr.Image]:
    """Return the face before and after filling, and the photograph with it. UserError: there is no face yet."""
    if photograph is None or face is None or face.crop is None or drawn is None:
        raise UserError("there is no face yet: give a photograph first")
    filled, whole = studio.fill(model, photograph, face.crop, hole_of(drawn["layers"]))
    return (studio.cut_out(photograph, face.crop), filled), gr.Image(whole, visible=True)


def hole_of(layers: Sequence[Image.Image]) -> Image.Image:
    """Return a mask of mode L that is white where something was drawn on any of the layers."""
    hole = Image.new("L", (studio.SHOWN, studio.SHOWN))
    for layer in layers:
        hole = ImageChops.lighter(hole, layer.convert("RGBA").getchannel("A").resize(hole.size))
    return hole


def build_sharpen(model: Predictor, subject: Subject) -> None:
    """Build the part of the tab that reduces the face and restores it."""
    help_text("The face is reduced by this factor, and restored from the remaining pixels.")
    factor = gr.Radio(
        [(f"{factor} times smaller", factor) for factor in FACTORS], value=8, label="Shrink it", elem_id="factor"
    )
    with gr.Row():
        face = before_and_after("Few pixels | restored", "sharpened")
        whole = result("The face itself", "sharpened_truth")
    bind(
        partial(gr.on, [subject.turn.change, factor.change]), partial(show_sharpened, model),
        [subject.photograph, subject.face, factor], [face, whole], show_progress="minimal",
    )  # fmt: skip


def show_sharpened(
    model: Predictor, photograph: studio.Photograph | None, face: Face | None, factor: int
) -> tuple[Pair, Image.Image | None]:
    """Return the reduced face with the restored one, and the original face."""
    if photograph is None or face is None or face.crop is None:
        return None, None
    small, restored = studio.sharpen(model, face, factor)
    truth = studio.cut_out(photograph, face.crop)
    return (as_large_as_shown(small), studio.enlarged(restored)), truth


# ---------------------------------------------------------------------------------------------- toonify


def build_toonify(models: Mapping[str, Predictor], subject: Subject) -> None:
    """Build the tab that draws the face as a cartoon."""
    model = models.get(studio.TOONIFY)
    if model is None:
        return
    with gr.Tab("Toonify", id="toonify"):
        help_text("The same person by a generator whose coarse layers draw cartoons.")
        with gr.Row():
            face = before_and_after("Photograph | drawn", "toon")
            alone = result("Drawn", "toon_alone")
        bind(
            subject.turn.change, partial(show_toon, model), [subject.photograph, subject.face], [face, alone],
            show_progress="minimal",
        )  # fmt: skip


def show_toon(
    model: Predictor, photograph: studio.Photograph | None, face: Face | None
) -> tuple[Pair, Image.Image | None]:
    """Return the face with its drawing, and the drawing alone."""
    if photograph is None or face is None or face.crop is None:
        return None, None
    drawn = studio.enlarged(model.invert(photograph.image, crop=face.crop).image)
    return (studio.cut_out(photograph, face.crop), drawn), drawn


# --------------------------------------------------------------------------------------------- generate


def build_generate(model: Predictor) -> gr.Gallery:
    """Build the tab that generates people who do not exist, and return its gallery of them."""
    with gr.Tab("Generate", id="generate"):
        help_text("People who do not exist. Click on one to work on it like on a photograph.")
        with gr.Row():
            seed = gr.Slider(0, 9999, value=0, step=1, label="Seed", info="The same number gives the same people.")
            psi = gr.Slider(
                0, 1.2, value=0.7, step=0.05, label="Variety", info="Further from the mean face, and less certain."
            )
        button = gr.Button("Generate", variant="primary", elem_id="generate_button")
        gallery = gr.Gallery(
            label="People", columns=4, interactive=False, allow_preview=False, object_fit="cover", height=430,
            format="png", buttons=["download_all"], elem_id="people",
        )  # fmt: skip
        bind(button.click, partial(show_people, model), [seed, psi], [gallery])
    return gallery


def show_people(model: Predictor, seed: int, psi: float) -> list[Image.Image]:
    """Generate the people for the gallery."""
    return studio.people(model, int(seed), PEOPLE, psi)
