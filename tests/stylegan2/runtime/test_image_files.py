"""What belongs to a data set: folders and archives as phones, browsers, network drives and people leave them."""

import io
import os
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stylegan2.runtime.errors import ImageError, UserError
from stylegan2.runtime.image_files import EXTENSIONS, HEAD, HIDDEN_FILES, find_images, list_pictures, list_zip


def encoded(image_format: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3)).save(buffer, image_format)
    return buffer.getvalue()


def fill(folder: Path, *names: str, content: bytes = b"") -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def packed(path: Path, *names: str, content: bytes = b"x", **options) -> Path:
    with zipfile.ZipFile(path, "w", **options) as archive:
        for name in names:
            archive.writestr(zipfile.ZipInfo(name), content)
    return path


def test_pictures_are_sorted_and_the_rest_is_counted_by_kind(tmp_path):
    fill(tmp_path, "b.png", "a.JPG", "sub/c.webp", "sub/._c.webp", "sub/notes.txt", "z.gif", "movie.MOV", "LICENSE")
    fill(tmp_path, ".DS_Store", "Thumbs.db", "@eaDir/a.JPG/SYNOPHOTO_THUMB_M.jpg", "__MACOSX/._a.JPG", ".git/x.png")
    listing = list_pictures(tmp_path)
    assert listing.names == ["a.JPG", "b.png", "sub/c.webp", "z.gif"]
    assert listing.skipped == {HIDDEN_FILES: 6, ".txt": 1, ".mov": 1, "without an extension": 1}
    assert listing.summary() == (
        "1 .gif, 1 .jpg, 1 .png, 1 .webp; skipped: 6 hidden or left by other programs, 1 .mov, 1 .txt,"
        " 1 without an extension"
    )
    assert find_images(tmp_path / "sub") == [tmp_path / "sub" / "c.webp"]
    for bad in (tmp_path / "missing", tmp_path / "b.png"):
        with pytest.raises(ImageError, match="cannot list folder"):
            find_images(bad)


def test_the_same_is_said_of_a_zip_file(tmp_path):
    names = ["b.png", "a.JPG", "notes.txt", "__MACOSX/._b.png", "@eaDir/b.png", ".DS_Store", "inner.zip", "d.heic"]
    listing = list_pictures(packed(tmp_path / "a.zip", *names))
    assert listing.names == ["a.JPG", "b.png", "d.heic"]
    assert listing.skipped == {HIDDEN_FILES: 3, ".txt": 1, ".zip": 1}


def test_what_is_said_is_one_line_and_nothing_where_all_is_plain(tmp_path, capsys):
    fill(tmp_path, "a.png", "b.png")
    list_pictures(tmp_path).print_summary(tmp_path)
    assert capsys.readouterr().out == ""
    fill(tmp_path, "c.mov")
    list_pictures(tmp_path).print_summary("photos")
    assert capsys.readouterr().out == "photos: 2 .png; skipped: 1 .mov\n"


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "WEBP", "TIFF", "GIF", "AVIF"])
def test_a_picture_under_another_name_is_found_by_its_first_bytes(tmp_path, image_format):
    fill(tmp_path, "a", "b.jpg_large", "c.dat", content=encoded(image_format))
    fill(tmp_path, "d.nef", "e.jpg.part", content=encoded(image_format))  # a raw photograph, half a download
    assert list_pictures(tmp_path).names == ["a", "b.jpg_large", "c.dat"]
    assert list_zip(packed(tmp_path / "a.zip", "a", content=encoded(image_format))).names == ["a"]
    assert len(encoded(image_format)[:HEAD]) == HEAD


def test_what_only_begins_alike_is_no_picture(tmp_path):
    fill(tmp_path, "sound.wav", content=b"RIFF\x04\0\0\0WAVEfmt ")
    fill(tmp_path, "film", content=b"\0\0\0\x18ftypisom\0\0\0\0")
    assert list_pictures(tmp_path).names == []


def test_linked_folders_are_followed_once(tmp_path):
    fill(tmp_path, "store/cats/c.png", "store/dogs/d.png", "set/birds/b.png", "outside.png")
    (tmp_path / "set" / "cats").symlink_to(tmp_path / "store" / "cats")
    (tmp_path / "set" / "dogs").symlink_to("../store/dogs")
    (tmp_path / "set" / "a_again").symlink_to("birds")  # comes first in the alphabet, but birds is the folder
    (tmp_path / "set" / "loop").symlink_to(tmp_path / "set")
    (tmp_path / "set" / "up").symlink_to("..")
    (tmp_path / "set" / "gone").symlink_to("nowhere")
    (tmp_path / "set" / "itself").symlink_to("itself")
    (tmp_path / "set" / "e.png").symlink_to("../outside.png")
    (tmp_path / "link").symlink_to("set")
    for top in ("set", "link"):
        listing = list_pictures(tmp_path / top)
        assert listing.names == ["birds/b.png", "cats/c.png", "dogs/d.png", "e.png"]
        assert listing.skipped.total() == 5


def test_zip_files_of_windows_and_of_other_tools(tmp_path):
    assert list_zip(packed(tmp_path / "a.zip", "cats\\", "cats\\a.png", ".\\b.png")).names == [
        ".\\b.png",
        "cats\\a.png",
    ]
    with pytest.warns(UserWarning, match="Duplicate"):
        assert list_zip(packed(tmp_path / "twice.zip", "a.png", "a.png")).names == ["a.png"]
    locked = zipfile.ZipInfo("a.png")
    with zipfile.ZipFile(tmp_path / "locked.zip", "w") as archive:
        archive.writestr(locked, b"x")
        locked.flag_bits |= 1
    assert "encrypted" in list_zip(tmp_path / "locked.zip").summary()
    deflate64 = bytearray(packed(tmp_path / "windows.zip", "a.png").read_bytes())
    deflate64[8], deflate64[deflate64.index(b"PK\1\2") + 10] = 9, 9
    (tmp_path / "windows.zip").write_bytes(deflate64)
    assert "Deflate64" in list_zip(tmp_path / "windows.zip").summary()


def renamed(path, names: dict[bytes, bytes], extra: bytes = b""):
    """Replace names of members of a zip file by others of the same length, and add an extra field in the directory."""
    data = path.read_bytes()
    for before, after in names.items():
        data = data.replace(before, after)
    entry, end = data.index(b"PK\1\2"), data.index(b"PK\5\6")
    after_name = entry + 46 + int.from_bytes(data[entry + 28 : entry + 30], "little")
    size = (end - entry + len(extra)).to_bytes(4, "little")
    head = data[: entry + 30] + len(extra).to_bytes(2, "little") + data[entry + 32 : after_name]
    path.write_bytes(head + extra + data[after_name : end + 12] + size + data[end + 16 :])
    return path


@pytest.mark.parametrize(
    ("stored", "name"),
    [
        ("M\u00fcller.png".encode(), "M\u00fcller.png"),  # macOS: UTF-8 that is not marked
        ("M\u00fcller.png".encode("cp437"), "M\u00fcller.png"),  # DOS, as the standard says
        ("M\u00fcller \u00e9\u00df.png".encode("cp1252"), "M\u00fcller \u00e9\u00df.png"),  # Windows
        ("\u65e5\u672c.png".encode(), "\u65e5\u672c.png"),
    ],
)
def test_names_of_zip_files_are_read_in_the_encoding_of_their_system(stored, name, tmp_path):
    plain = bytes(range(65, 65 + len(stored) - 4)) + b".png"
    path = renamed(packed(tmp_path / "a.zip", plain.decode()), {plain: stored})
    assert list_zip(path).names == [name]


def test_a_name_of_a_zip_file_in_its_unicode_field_comes_first(tmp_path):
    path, stored = packed(tmp_path / "a.zip", "M_ller.png"), b"M_ller.png"
    content = b"\1" + zlib.crc32(stored).to_bytes(4, "little") + "M\u00fcller.png".encode()
    field = (0x7075).to_bytes(2, "little") + len(content).to_bytes(2, "little") + content
    other = b"M\xffller.png"
    assert list_zip(renamed(path, {}, field)).names == ["M_ller.png"]  # a plain name needs no other
    content = b"\1" + zlib.crc32(other).to_bytes(4, "little") + "M\u00fcller.png".encode()
    field = field[:4] + content
    path = renamed(packed(tmp_path / "b.zip", "M_ller.png"), {stored: other}, field)
    assert list_zip(path).names == ["M\u00fcller.png"]


def test_a_zip_file_without_its_end_is_named(tmp_path):
    path = packed(tmp_path / "a.zip", "a.png", "b.png")
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(UserError, match="its end is missing: copy or download it again"):
        list_pictures(path)


def test_what_is_neither_a_folder_nor_a_zip_file_is_named(tmp_path):
    fill(tmp_path, "a.tar", content=b"x" * 600)
    with pytest.raises(UserError, match="neither a folder nor a zip"):
        list_pictures(tmp_path / "a.tar")
    with pytest.raises(UserError, match="there is no folder or zip file"):
        list_pictures(tmp_path / "missing")
    whole = packed(tmp_path / "a.zip", "a.png", "b.png").read_bytes()
    (tmp_path / "a.zip").write_bytes(whole[:46] + b"\xff" * 20 + whole[66:])
    if zipfile.is_zipfile(tmp_path / "a.zip"):
        list_zip(tmp_path / "a.zip")  # damage between the members is no reason to refuse the others


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are a POSIX thing")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert list_pictures(tmp_path).skipped == {"without an extension": 1}


def test_extensions_are_those_that_can_be_read():
    Image.init()
    known = {Image.registered_extensions().get(extension) for extension in EXTENSIONS}
    assert known <= {"PNG", "JPEG", "WEBP", "BMP", "TIFF", "PPM", "GIF", "AVIF", "HEIF", "DIB", None}
