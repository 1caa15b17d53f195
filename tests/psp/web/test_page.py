"""The page's layout, and what its events return, without a browser."""

import urllib.request
from types import SimpleNamespace

import pytest
from PIL import Image

from psp.web import studio
from stylegan2.runtime.errors import UserError

pytestmark = pytest.mark.usefixtures("gradio")
NAMES = ("inversion", "super_resolution", "inpainting", "toonify")


@pytest.fixture(scope="module")
def models():
    return studio.load_models(studio.shipped_models("portraits64"), "cpu")


@pytest.fixture(scope="module")
def two_people(models, tmp_path_factory):
    return studio.write_examples(models["inversion"], tmp_path_factory.mktemp("examples"))[-1]


def tabs_of(page):
    return [block["props"]["label"] for block in page.config["components"] if block["type"] == "tabitem"]


def test_a_tab_is_there_if_its_model_is(models):
    from psp.web.page import build_page

    every = {**models, "super_resolution": models.get("super_resolution", models["toonify"])}
    assert tabs_of(build_page(every, NAMES, [])) == [
        "Invert", "Edit", "Mix", "Restore", "Fill a hole", "Super-resolution", "Toonify", "Generate",
    ]  # fmt: skip
    alone = {"inversion": models["inversion"]}
    assert tabs_of(build_page(alone, NAMES, [])) == ["Invert", "Edit", "Mix", "Generate"]
    few = {"inversion": models["inversion"], "super_resolution": models["toonify"]}
    assert tabs_of(build_page(few, NAMES, [])) == ["Invert", "Edit", "Mix", "Restore", "Generate"]


def test_without_directions_of_the_generator_nothing_is_edited(models, monkeypatch):
    from psp.web.page import build_page

    def none_known(generator, files):
        raise UserError("no directions of this generator come with the package")

    monkeypatch.setattr("psp.inference.predictor.find_directions", none_known)
    model = type(models["inversion"])(models["inversion"].model, models["inversion"].metadata)
    assert tabs_of(build_page({"inversion": model}, NAMES, [])) == ["Invert", "Mix", "Generate"]


def test_every_event_waits_in_the_same_bounded_queue(models):
    from psp.web.page import build_page

    page = build_page(models, NAMES, [])
    used = [event for event in page.fns.values() if event.queue is not False]
    assert used
    assert {event.concurrency_id for event in used} == {"networks"}
    assert {event.concurrency_limit for event in used} == {1}
    assert {event.api_visibility for event in page.fns.values()} == {"private"}


def test_a_face_is_chosen_among_several(models, two_people):
    from psp.web.page import choose_face, find_codes, open_upload

    photograph, shown, message, faces, number, opened = open_upload(two_people, 3)
    assert (shown.size, message.visible, faces.visible, number, opened) == ((1024, 512), False, True, 0, 4)
    number, opened = choose_face(opened, SimpleNamespace(index=1))
    assert (number, opened) == (1, 5)
    first, second = (
        find_codes(models["inversion"], photograph, which, "Quick", 7, progress=lambda *_, **__: None)
        for which in (0, 1)
    )
    assert first[1] == second[1] == 8
    assert abs(first[0].crop.quad[0][0] - second[0].crop.quad[0][0]) > 300


def test_a_broken_file_is_one_sentence(tmp_path):
    from psp.web.page import open_upload

    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 cut off")
    photograph, shown, message, faces, _, opened = open_upload(str(tmp_path / "broken.jpg"), 0)
    assert (photograph, shown, faces.visible, opened) == (None, None, False, 1)
    assert message.visible
    assert message.value.startswith("'broken.jpg' cannot be read")
    assert message.value.count(". ") == 0
    assert message.value.endswith(".")


def test_refinement_reports_how_far_it_is(models, two_people, monkeypatch):
    from psp.web.page import find_codes, open_upload

    monkeypatch.setitem(studio.LIKENESS, "Closer", {"refine": 3})
    heard = []
    photograph = open_upload(two_people, 0)[0]
    face, _ = find_codes(
        models["inversion"], photograph, 0, "Closer", 0, progress=lambda value, desc: heard.append((*value, desc))
    )
    assert face is not None
    assert heard == [(1, 3, "refining"), (2, 3, "refining"), (3, 3, "refining")]


def test_tabs_are_empty_without_a_face(models):
    from psp.web import tabs

    assert tabs.show_inverted(None, None) == (None, None)
    assert tabs.show_toon(models["toonify"], None, None) == (None, None)
    assert tabs.show_mixed(models["inversion"], None, None) == [None] * 3
    assert tabs.show_sharpened(models["toonify"], None, None, 8) == (None, None)
    with pytest.raises(UserError, match="give a photograph first"):
        tabs.show_filled(models["inpainting"], None, None, None)
    with pytest.raises(UserError, match="give a photograph first"):
        tabs.show_edited_whole(models["inversion"], ["smile"], None, 0.0)


def test_what_was_drawn_is_the_hole():
    from psp.web.tabs import hole_of

    layer = Image.new("RGBA", (256, 256))
    layer.paste((255, 255, 255, 255), (0, 0, 128, 128))
    hole = hole_of([layer, Image.new("RGBA", (256, 256))])
    assert (hole.size, hole.mode) == ((studio.SHOWN, studio.SHOWN), "L")
    assert hole.getpixel((10, 10)) == 255
    assert hole.getpixel((400, 10)) == 0


def test_mistakes_are_sentences(gradio):
    from psp.web.components import as_sentence, sentence_for_mistakes

    def mistaken():
        raise UserError("there is no such thing: take another")

    with pytest.raises(gradio.Error) as raised:
        sentence_for_mistakes(mistaken)()
    assert raised.value.message == "There is no such thing: take another."
    assert as_sentence("Done!") == "Done!"


@pytest.mark.slow
def test_the_server_asks_browsers_to_load_nothing_from_elsewhere(address):
    answer = urllib.request.urlopen(address, timeout=60)
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'self'")
    assert "http" not in policy
    text = answer.read().decode()
    for foreign in ("fonts.googleapis.com", "fonts.gstatic.com", "cdnjs", "huggingface.co"):
        assert foreign not in text
    assert '"analytics_enabled":false' in text.replace(" ", "")
