import io
import multiprocessing
import pickle
import warnings
import zipfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from datasets.folder import ImageFiles, ImageFolder
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.images import write_image


def picture(seed, height=24, width=24):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def png(array):
    file = io.BytesIO()
    Image.fromarray(array).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def files():
    """{name: bytes} of images of several sizes in several folders."""
    contents = {f"b/{n:03d}.png": png(picture(n)) for n in range(4)}
    return contents | {"a.png": png(picture(10, 16, 40)), "c/d/e.PNG": png(picture(11, 30, 20))}


def as_folder(path, files):
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


def as_zip(path, files):
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def everything(images):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return np.stack([images[i] for i in range(len(images))])


def test_images_are_cropped_to_the_centre_and_resized(tmp_path):
    array = picture(0, 16, 40)
    images = ImageFolder(as_folder(tmp_path, {"x.png": png(array)}), 16)
    assert np.array_equal(images[0], array[:, 12:28])
    assert ImageFolder(tmp_path, 8)[0].shape == (8, 8, 3)


def test_a_zip_is_read_as_its_folder(tmp_path, files):
    folder, archive = as_folder(tmp_path / "f", files), as_zip(tmp_path / "f.zip", files)
    assert len(ImageFolder(folder, 16)) == len(files)
    assert np.array_equal(everything(ImageFolder(folder, 16)), everything(ImageFolder(archive, 16)))


def test_one_image_is_a_set_of_one(tmp_path):
    array = picture(0, 16, 16)
    images = ImageFolder(as_folder(tmp_path, {"x.png": png(array)}) / "x.png", 16)
    assert np.array_equal(everything(images), array[None])
    assert images.files.relative(0) == "x.png"
    assert images.files.labels() is None


def test_a_zip_made_by_macos_is_read_without_its_hidden_files(tmp_path, files):
    extra = {"__MACOSX/._a.png": b"resource fork", "b/": b"", "trap.png/": b"", "notes.txt": b"hello"}
    images = ImageFolder(as_zip(tmp_path / "f.zip", files | extra), 16)
    assert len(images) == len(files)
    everything(images)
    assert not images.left_out.indices


def test_a_zip_can_be_sent_to_worker_processes(tmp_path, files):
    images = ImageFolder(as_zip(tmp_path / "f.zip", files), 16)
    before = everything(images)
    assert np.array_equal(everything(pickle.loads(pickle.dumps(images))), before)


def test_processes_that_fork_do_not_share_a_position_in_the_zip(tmp_path):
    """Five of them read at once what their parent has opened before."""
    noise = np.random.default_rng(0).integers(0, 256, (60, 64, 64, 3), np.uint8)
    images = ImageFolder(as_zip(tmp_path / "f.zip", {f"{n:02d}.png": png(noise[n]) for n in range(60)}), 64)
    assert np.array_equal(images[0], noise[0])
    inherited.append(images)  # by forking; what is sent to a process is another object
    with multiprocessing.get_context("fork").Pool(5) as pool:
        readings = pool.map(read_often, range(5))
    assert all(np.array_equal(each, noise) for each in readings)
    assert not images.left_out.indices


inherited = []


def read_often(worker):
    for _ in range(4):
        pixels = everything(inherited[-1])
    return pixels


def many(count, bad):
    """Write `count` images, of which those in `bad`, {number: content}, have other contents."""
    return {f"{n:04d}.png": bad.get(n, png(np.full((8, 8, 3), n % 251, np.uint8))) for n in range(count)}


@pytest.mark.parametrize("make", [as_folder, as_zip])
def test_an_unreadable_image_gives_way_to_the_next_and_is_counted_once(tmp_path, make):
    images = ImageFolder(make(tmp_path / "x", many(6, {2: b"not an image"})), 8)
    with pytest.warns(UserWarning, match=r"left out: .*0002\.png.* cannot be read as an image"):
        replacement = images[2]
    assert np.array_equal(replacement, images[3])
    assert [int(image[0, 0, 0]) for image in everything(images)] == [0, 1, 3, 3, 4, 5]
    assert images.left_out.indices == {2}


def test_the_first_follows_the_last(tmp_path):
    images = ImageFolder(as_folder(tmp_path, many(3, {2: b"\x89PNG cut short"})), 8)
    with pytest.warns(UserWarning, match="left out"):
        assert np.array_equal(images[2], images[0])


def test_a_damaged_zip_member_is_left_out_too(tmp_path):
    path = as_zip(tmp_path / "x.zip", many(4, {}))
    damaged = path.read_bytes()
    first, second = (damaged.index(b"IDAT", at) for at in (0, damaged.index(b"0001.png")))
    assert first < second
    path.write_bytes(damaged[: second + 6] + b"\xff\xff\xff" + damaged[second + 9 :])
    images = ImageFolder(path, 8)
    assert [int(image[0, 0, 0]) for image in everything(images)] == [0, 2, 2, 3]


def test_an_encrypted_zip_is_one_sentence(tmp_path):
    path = as_zip(tmp_path / "x.zip", many(4, {}))
    content = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):  # the flag "encrypted" of every member
        at = content.find(signature)
        while at >= 0:
            content[at + offset] |= 1
            at = content.find(signature, at + 1)
    path.write_bytes(content)
    with pytest.raises(UserError, match="contains no images: .*4 encrypted files, which must be unpacked first"):
        ImageFolder(path, 8)


def test_one_bad_file_in_a_hundred_is_tolerated_and_more_are_not(tmp_path):
    images = ImageFolder(as_folder(tmp_path / "few", many(300, dict.fromkeys((0, 100, 200), b""))), 8)
    assert len(everything(images)) == 300
    assert len(images.left_out.indices) == 3
    images = ImageFolder(as_folder(tmp_path / "more", many(300, dict.fromkeys((0, 100, 200, 299), b""))), 8)
    with pytest.raises(UserError, match=r"4 of 300 images of .*more cannot be read; the last: .*0299") as caught:
        everything(images)
    assert "\n" not in str(caught.value)


def test_nothing_readable_is_one_sentence(tmp_path):
    images = ImageFolder(as_folder(tmp_path, {"only.png": b"no"}), 8)
    with pytest.raises(UserError, match="no image of .* can be read"), pytest.warns(UserWarning, match="left out"):
        images[0]


def test_gray_and_transparent_files_among_colour(tmp_path):
    folder = as_folder(tmp_path, {"a.png": png(picture(0))})
    Image.fromarray(np.full((24, 24), 100, np.uint8)).save(tmp_path / "b.png")
    Image.fromarray(np.zeros((24, 24, 4), np.uint8)).save(tmp_path / "c.png")
    Image.fromarray(picture(1)).convert("CMYK").save(tmp_path / "d.jpg")
    Image.fromarray(picture(1)).quantize(8).save(tmp_path / "e.png")
    for channels in (1, 3, 4):
        pictures = everything(ImageFolder(folder, 16, channels))
        assert (pictures.shape, pictures.dtype) == ((5, 16, 16, channels), np.uint8)
    rgb = everything(ImageFolder(folder, 16))
    assert (rgb[1] == 100).all()
    assert (rgb[2] == 255).all()  # what is transparent shows the matte


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: path, "there is no folder or zip file"),
        (lambda path: path.mkdir(), "contains no images: give a folder or zip"),
        (lambda path: path.write_text("hello"), "is neither a folder nor a zip file of images"),
        (lambda path: as_zip(path, {"notes.txt": b""}), "contains no images"),
        (
            lambda path: path.write_bytes(as_zip(path, {"a.png": b"x"}).read_bytes()[:-30]),
            "begins like a zip file, but its end is missing",
        ),
    ],
)
def test_what_is_no_set_of_images_is_one_sentence(tmp_path, make, words):
    make(tmp_path / "data")
    with pytest.raises(UserError, match=words) as caught:
        ImageFolder(tmp_path / "data", 16)
    assert "data" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_impossible_channels(tmp_path):
    with pytest.raises(UserError, match="images have 1 or 3 or 4 channels, not 2"):
        ImageFolder(tmp_path, 16, channels=2)


def test_threads_read_one_zip(tmp_path):
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
        for index in range(40):
            write_image(tmp_path / "picture.png", np.full((64, 64, 3), 6 * index, np.uint8))
            archive.write(tmp_path / "picture.png", f"{index:02d}.png")
    files = ImageFiles(tmp_path / "in.zip")
    with ThreadPoolExecutor(8) as pool:
        means = list(pool.map(lambda index: files.read(index % 40, "rgb").mean(), range(400)))
    assert means == [6 * (index % 40) for index in range(400)]
