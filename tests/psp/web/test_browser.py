"""The page in a real browser, as somebody uses it."""

import os

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.slow  # a server, and a browser


def give(page, file, place="#photograph"):
    """Upload a file, in place of the one that is there."""
    page.set_input_files(f"{place} input[type=file]", str(file))


def source_of(page, selector):
    """The address of the picture that a component shows; the last one of a component that compares two."""
    return page.locator(f"{selector} img").last.get_attribute("src")


def wait_for_change(page, selector, before):
    page.wait_for_function(
        "([selector, before]) => { const all = document.querySelectorAll(selector + ' img');"
        " return all.length && all[all.length - 1].src && all[all.length - 1].src !== before; }",
        arg=[selector, before],
    )


def open_tab(page, name):
    page.get_by_role("tab", name=name, exact=True).click()


def save(page, selector, folder):
    """Click the download button of a component and return the picture."""
    with page.expect_download() as download:
        page.locator(f"{selector} [aria-label=Download], {selector} [title=Download]").first.click()
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    return Image.open(path)


def test_a_photograph_is_inverted_edited_and_downloaded(page, astronaut, tmp_path):
    give(page, astronaut)
    page.wait_for_selector("#inverted img")
    assert save(page, "#inverted_whole", tmp_path).size == (512, 512)

    open_tab(page, "Edit")
    page.wait_for_selector("#edited img")
    before = source_of(page, "#edited")
    slider = page.locator("#direction_smile input[type=range]")
    slider.focus()
    for _ in range(20):
        slider.press("ArrowRight")
    assert page.locator("#direction_smile input[type=number]").input_value() == "2"
    wait_for_change(page, "#edited", before)
    page.click("#put_back")
    edited = save(page, "#edited_whole", tmp_path)
    photo = np.asarray(Image.open(astronaut), int)
    changed = (np.abs(np.asarray(edited.convert("RGB"), int) - photo) > 2).any(2)
    assert edited.size == (512, 512)
    assert 0.02 < changed.mean() < 0.5  # the face, and nothing else

    page.click("#reset")
    page.wait_for_function("document.querySelector('#direction_smile input[type=number]').value === '0'")


def test_other_tabs_show_the_same_face(page, astronaut):
    give(page, astronaut)
    page.wait_for_selector("#inverted img")
    open_tab(page, "Toonify")
    page.wait_for_selector("#toon_alone img")
    open_tab(page, "Mix")
    page.locator("#other_examples button").nth(1).click()
    for rows in ("coarse", "medium", "fine"):
        page.wait_for_selector(f"#mixed_{rows} img")
    open_tab(page, "Generate")
    page.click("#generate_button")
    page.wait_for_selector("#people img")
    before = source_of(page, "#photograph")
    page.locator("#people button.thumbnail-item").nth(2).click()  # who does not exist becomes the photograph
    wait_for_change(page, "#photograph", before)


def test_a_hole_is_drawn_and_filled(page, astronaut):
    give(page, astronaut)
    page.wait_for_selector("#inverted img")
    open_tab(page, "Restore")
    canvas = page.locator("#hole canvas").first
    canvas.wait_for()
    page.wait_for_timeout(3000)  # the face is laid on the canvas
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + 0.45 * box["width"], box["y"] + 0.45 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.6 * box["width"], box["y"] + 0.5 * box["height"], steps=10)
    page.mouse.up()
    page.wait_for_timeout(1000)
    page.click("#fill_button")
    page.wait_for_selector("#filled img")
    page.wait_for_selector("#filled_whole img")


def test_of_several_faces_one_is_chosen(page):
    page.locator("#examples button.thumbnail-item").last.click()
    page.wait_for_selector("#faces img")
    page.wait_for_selector("#inverted img")
    before = source_of(page, "#inverted")
    page.locator("#faces button.thumbnail-item").nth(1).click()
    wait_for_change(page, "#inverted", before)


def test_a_broken_and_a_large_file_get_one_sentence_each(page, astronaut, tmp_path):
    broken, large = tmp_path / "broken.jpg", tmp_path / "large.png"
    broken.write_bytes(astronaut.read_bytes()[:900])
    give(page, broken)
    page.wait_for_selector("#message")
    sentence = page.locator("#message").inner_text().strip()
    assert sentence.startswith("'broken.jpg' cannot be read as an image")
    assert "\n" not in sentence

    Image.fromarray(np.frombuffer(os.urandom(3 * 1000 * 1000), np.uint8).reshape(1000, 1000, 3)).save(large)
    page.wait_for_selector("#photograph input[type=file]", state="attached")
    give(page, large)
    page.get_by_text("exceed the maximum allowed size").first.wait_for()

    give(page, astronaut)  # and the page goes on
    page.wait_for_selector("#inverted img")
    page.wait_for_selector("#message", state="hidden")


@pytest.mark.timeout(1500)
def test_a_hundred_uploads_in_a_row(page, astronaut, tmp_path):
    photo = Image.open(astronaut)
    give(page, astronaut)
    page.wait_for_selector("#inverted img")
    shown = source_of(page, "#inverted")
    seen = {shown}
    for number in range(100):
        file = tmp_path / f"{number}.png"
        photo.rotate(number / 5, fillcolor="gray").resize((256, 256)).save(file)
        give(page, file)
        wait_for_change(page, "#inverted", shown)
        shown = source_of(page, "#inverted")
        seen.add(shown)
    assert len(seen) == 101
