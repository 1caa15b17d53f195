"""Classes of images: NVIDIA's dataset.json, tables and subfolders."""

import csv
import io
import json
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets.folder import ImageFolder
from datasets.label_files import format_dataset_json, parse_csv, parse_dataset_json, plain
from datasets.labels import encode_labels, find_labels, numbered, read_labels, top_folders
from datasets.sources import open_images, open_labels
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.images import write_image

NAMES = ["cat/a.png", "cat/b.png", "dog/c.png"]
WORDS = st.text(
    st.characters(codec="utf-8", categories=["L", "N", "P"], exclude_characters="\\"), min_size=1, max_size=8
)
FILES = WORDS.filter(lambda name: plain(name) == name)


def labels_json(pairs):
    return json.dumps({"labels": pairs})


def classes_of(names, text, where="data"):
    labels = find_labels(names, None if text is None else text.encode(), where)
    return None if labels is None else encode_labels(labels, where)[0].tolist()


def test_dataset_json_decides_before_subfolders():
    text = labels_json([["dog/c.png", 0], ["cat\\a.png", 2], ["./cat/b.png", 1], ["gone.png", 5]])
    labels, kept, _ = encode_labels(find_labels(NAMES, text.encode(), "data"), "data")
    assert labels.tolist() == [2, 1, 0]
    assert labels.dtype == np.int64
    assert kept.tolist() == [0, 1, 2]


def test_subfolders_are_classes_where_no_file_says_so():
    assert classes_of(NAMES, None) == [0, 0, 1]
    assert classes_of(["10/x/a.png", "9/a.png", "9/x/a.png"], None) == [1, 0, 0]
    assert classes_of([f"my photos/{name}" for name in NAMES], None) == [0, 0, 1]  # zipped with their folder
    assert find_labels([*NAMES, "stray.png"], None, "data")[-1] is None  # what lies in no folder is of no class


def test_no_labels_are_no_labels():
    assert find_labels(NAMES, b'{"labels": null}', "data") is None


@pytest.mark.parametrize("names", [["a.png", "b.png"], ["cat/a.png", "cat/x/b.png"]])
def test_one_place_for_all_is_no_label(names):
    assert find_labels(names, None, "data") is None


@pytest.mark.parametrize("folders", [("train", "val"), ("Train", "TEST"), ("00000", "00001"), ("00000", "69000")])
def test_parts_of_a_data_set_are_no_classes(folders):
    with pytest.raises(UserError, match="parts"):
        find_labels([f"{folder}/a.png" for folder in folders], None, "data")
    assert find_labels(["00012/a.png", "00845/b.png"], None, "data") == ["00012", "00845"]  # people by their number


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_dataset_json_of_any_utf(encoding):
    text = labels_json([["cät/a.png", 1], ["b.png", 0]])
    assert find_labels(
        ["cät/a.png", "b.png"], json.dumps(json.loads(text), ensure_ascii=False).encode(encoding), "d"
    ) == [1, 0]


def test_vectors_and_measured_values_are_labels():
    vectors = labels_json([["a.png", [0, 0.5]], ["b.png", [1, -2]]]).encode()
    labels, _, _ = encode_labels(find_labels(["a.png", "b.png"], vectors, "data"), "data")
    assert labels.dtype == np.float32
    assert labels.tolist() == [[0, 0.5], [1, -2]]
    measured = labels_json([["a.png", 0.25], ["b.png", 1]]).encode()
    assert find_labels(["a.png", "b.png"], measured, "data") == [(0.25,), (1.0,)]
    whole = labels_json([["a.png", 1.0], ["b.png", 0.0]]).encode()  # classes that went through a table of floats
    assert find_labels(["a.png", "b.png"], whole, "data") == [1, 0]
    with pytest.raises(UserError, match="classes for some images and vectors for others"):
        encode_labels([1, (1.0, 2.0)], "data")
    with pytest.raises(UserError, match="of several lengths"):
        encode_labels([(1.0,), (1.0, 2.0)], "data")


def test_images_without_a_label_are_left_out_and_counted():
    given = find_labels(NAMES, labels_json([["cat/a.png", 1], ["dog/c.png", None]]).encode(), "data")
    labels, kept, said = encode_labels(given, "data")
    assert (labels.tolist(), kept.tolist()) == ([1], [0])
    assert said == ["2 of 3 images of data have no label and are left out"]


def test_names_and_large_numbers_are_numbered_as_they_occur():
    assert encode_labels(["dog", "cat", "dog"], "data")[0].tolist() == [1, 0, 1]
    labels, _, said = encode_labels([10**8, 7, 7, 10**8], "data")
    assert labels.tolist() == [1, 0, 0, 1]
    assert said == ["2 classes of data: '7', '100000000'"]
    assert encode_labels([3, 1, 1, 1], "data")[0].tolist() == [3, 1, 1, 1]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            labels_json([["x.png", 0]]),
            "contains no label for 'cat/a.png', 'cat/b.png', 'dog/c.png': its names begin with",
        ),
        (labels_json([[name, -1] for name in NAMES]), "the label -1, but classes are whole numbers from 0 on"),
        (labels_json([[name, []] for name in NAMES]), r"the label \[\], which is neither a class"),
        (labels_json([[name, [True]] for name in NAMES]), "nor a vector of numbers"),
        (labels_json([[name, float("nan")] for name in NAMES]), "the label nan"),
        (labels_json([[name, [1, float("inf")]] for name in NAMES]), "the label .*inf"),
        (labels_json([[name, True] for name in NAMES]), "the label True"),
        ('{"labels": [["cat/a.png"', "dataset.json is not of the form"),
        ('["cat/a.png"]', "is not of the form"),
        ('{"labels": [3]}', "has the entry 3, which is not of the form"),
        ('{"labels": [[3, 4]]}', "has the entry .*, which is not of the form"),
        ('{"classes": []}', "is not of the form"),
        ('{"labels": ' + "[" * 100_000, "is not of the form"),
        ('{"labels": [["cat/a.png", 1' + "0" * 5000 + "]]}", "is not of the form"),
    ],
)
def test_a_damaged_dataset_json_is_one_sentence(text, words):
    with pytest.raises(UserError, match=words) as caught:
        find_labels(NAMES, text.encode(), "data")
    assert str(caught.value).startswith("data/dataset.json")
    assert "\n" not in str(caught.value)


@given(st.dictionaries(FILES, st.integers(0, 99), min_size=1))
def test_what_is_written_is_read(labels):
    assert parse_dataset_json(format_dataset_json(labels, []), "x") == labels


@given(st.dictionaries(WORDS, WORDS, min_size=1))
def test_numbers_are_consecutive_and_name_their_classes(classes):
    numbers, names = numbered(classes)
    assert sorted(set(numbers.values())) == list(range(len(names)))
    assert {file: names[number] for file, number in numbers.items()} == classes


def test_whole_numbers_are_sorted_as_numbers():
    assert numbered({"a": "10", "b": "9", "c": "0"}) == ({"a": 2, "b": 1, "c": 0}, ["0", "9", "10"])
    assert numbered({"a": "10", "b": "9x"})[1] == ["10", "9x"]


# --- tables ---


def as_csv(rows):
    file = io.StringIO()
    csv.writer(file).writerows(rows)
    return file.getvalue()


@given(st.dictionaries(FILES, WORDS, min_size=1))
def test_any_table_of_names_is_read(classes):
    assert parse_csv(as_csv([("file", "label"), *classes.items()]), "x") == classes


def test_headers_blank_lines_and_spaces():
    expected = {"a/b.png": "cat", "c.png": "big dog"}
    for header in ("", "file,label\n", "Filename,class\n"):
        assert parse_csv(f"{header}a\\b.png, cat\n\n ./c.png ,big dog\n,\n", "x") == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a.png,cat\nb.png\n", "line 2 of 'x.csv' is not of the form name,class: 'b.png'"),
        ("a.png,cat\nb.png,cat,1\n", "line 2 of 'x.csv' is not of the form"),
        ("a.png,1,2\nb.png,3,cat\n", "line 2 of 'x.csv' is not of the form"),
        (",cat\n", "line 1 of 'x.csv'"),
        ("a.png,cat\na.png,dog\n", "gives 'a.png' two classes, 'cat' and 'dog': keep one"),
    ],
)
def test_one_damaged_line_is_named_and_does_not_stop_the_others(text, words):
    with pytest.warns(UserWarning, match=words):
        labels = parse_csv(f"{text}z.png,{'1,2' if '3,cat' in text else 'cow'}\n", "x.csv")
    assert labels["z.png"] in ("cow", (1.0, 2.0))
    assert labels.get("b.png") is None
    if "two classes" in words:
        assert labels["a.png"] is None


@pytest.mark.parametrize("text", ["a.png\nb.png\n", "a.png,cat\na.png,dog\n", ",cat\n"])
def test_a_table_of_damaged_lines_is_one_sentence(text):
    with pytest.raises(UserError, match="x.csv"):
        parse_csv(text, "x.csv")


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (["bad.png", {}], r"gives 'bad.png' the label \{\}, which is neither a class nor a vector"),
        (["bad.png", -3], "but classes are whole numbers from 0 on"),
        (["bad.png", True], "neither a class"),
        ([None, 3], r"has the entry \[None, 3\], which is not of the form \[name, label\]"),
        ("bad.png", "has the entry bad.png"),
        (["bad.png"], "not of the form"),
        (None, "has the entry None"),
    ],
)
def test_one_damaged_entry_is_named_and_does_not_stop_the_others(entry, words):
    text = json.dumps({"labels": [entry, ["a.png", 1], ["b.png", 0]]})
    with pytest.warns(UserWarning, match=words):
        assert find_labels(["a.png", "bad.png", "b.png"], text.encode(), "data") == [1, None, 0]


def test_tables_of_numbers_are_vectors_and_those_of_excel_are_read():
    assert parse_csv("file,smile,age\na.png,1,0.5\nb.png,0,-2\n", "x") == {"a.png": (1, 0.5), "b.png": (0, -2)}
    assert parse_csv("a.png,0.5\nb.png,1\n", "x") == {"a.png": (0.5,), "b.png": (1.0,)}
    assert parse_csv("a.png,1\nb.png,2\n", "x") == {"a.png": "1", "b.png": "2"}
    assert parse_csv("file;class\na.png;big cat\n", "x") == {"a.png": "big cat"}
    assert parse_csv("a.png\tcat\nb.png\t\n", "x") == {"a.png": "cat", "b.png": None}


def test_folders_below_the_folder_of_all():
    assert top_folders(["a/cat/1.png", "a/dog/x/2.png"]) == ["cat", "dog"]
    assert top_folders(["a/cat/1.png", "a/cat/2.png"]) == ["", ""]
    assert top_folders(["a/cat/1.png", "a/cat/2.png"], alone=True) == ["cat", "cat"]
    assert top_folders([]) == []


def test_labels_for_a_folder(tmp_path, capsys):
    assert read_labels("folders", [*NAMES, "top.png"]) == {"cat/a.png": "cat", "cat/b.png": "cat", "dog/c.png": "dog"}
    table = tmp_path / "x.csv"
    table.write_text("﻿dog/c.png,Hund\ngone.png,Hund\n", encoding="utf-8")
    assert read_labels(str(table), NAMES) == {"dog/c.png": "Hund"}
    assert "names 'gone.png', which are not among the images" in capsys.readouterr().out
    (tmp_path / "x.json").write_text(labels_json([["cat/a.png", 3]]))
    assert read_labels(str(tmp_path / "x.json"), NAMES) == {"cat/a.png": "3"}
    assert read_labels(str(tmp_path / "x.json"), [f"set/{name}" for name in NAMES]) == {"set/cat/a.png": "3"}
    table.write_text("dog/c.png,Hund\n", encoding="utf-16")
    assert read_labels(str(table), NAMES) == {"dog/c.png": "Hund"}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot read the labels of .*No such file"),
        (b"caf\xe9.png,1", "it is not UTF-8 text"),
        (
            b"z.png,1\n",
            "contains none of the images: its names begin with 'z.png', those of the images with 'cat/a.png'",
        ),
        (b"", "contains none of the images"),
    ],
)
def test_labels_that_cannot_be_had_are_one_sentence(tmp_path, content, words):
    if content is not None:
        (tmp_path / "x.csv").write_bytes(content)
    with pytest.raises(UserError, match=words):
        read_labels(str(tmp_path / "x.csv"), NAMES)


# --- what training asks for ---


@pytest.fixture
def folder(tmp_path):
    for index, name in enumerate(NAMES):
        write_image(tmp_path / "data" / name, np.full((8, 8, 3), index, np.uint8))
    return tmp_path / "data"


def test_training_opens_labels_of_folders_and_zips(folder):
    assert open_labels(open_images(str(folder), 8), "data").tolist() == [0, 0, 1]
    (folder / "dataset.json").write_text(labels_json([[name, k] for k, name in enumerate(NAMES)]))
    assert open_labels(open_images(str(folder), 8), "data").tolist() == [0, 1, 2]
    archive = folder.with_name("data.zip")
    with zipfile.ZipFile(archive, "w") as file:
        for path in folder.rglob("*.*"):
            file.write(path, path.relative_to(folder).as_posix())
    assert open_labels(open_images(str(archive), 8), "data").tolist() == [0, 1, 2]


def test_labels_that_training_cannot_have_are_one_sentence(folder):
    with pytest.raises(UserError, match="cat has no labels: give a folder or zip with a subfolder for each class"):
        open_labels(open_images(str(folder / "cat"), 8), "cat")
    with pytest.raises(UserError, match="synthetic has no labels"):
        open_labels(open_images("synthetic", 32), "synthetic")
    (folder / "dataset.json").write_text(labels_json([[name, 0] for name in NAMES]))
    with pytest.raises(UserError, match="all images of data have the same label: train without labels"):
        open_labels(open_images(str(folder), 8), "data")
    (folder / "dataset.json").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match=r"data/dataset.json is not of the form"):
        ImageFolder(folder, 8).labels()


def test_a_few_vectors_of_another_length_count_as_no_label():
    labels = [(0.5, float(number)) for number in range(20)]
    encoded, kept, messages = encode_labels([*labels[:7], (1.0,), *labels[7:]], "data")
    assert encoded.tolist() == [list(label) for label in labels]
    assert kept.tolist() == [*range(7), *range(8, 21)]
    assert messages[0] == "1 of 21 labels of data do not have 2 numbers and count as no label"
    with pytest.raises(UserError, match="of several lengths"):
        encode_labels([(1.0,), (1.0, 2.0), (3.0, 4.0)], "data")


def test_accents_are_one_name_whichever_system_wrote_them(tmp_path):
    composed, separate = "\u00e9.png", "e\u0301.png"  # macOS gives the second to files that were named as the first
    for stored, listed in ((composed, separate), (separate, composed)):
        assert find_labels([stored, "a.png"], labels_json([[listed, 1], ["a.png", 0]]).encode(), "data") == [1, 0]
        (tmp_path / "labels.csv").write_text(f"{listed},cat\na.png,dog\n", encoding="utf-8")
        assert read_labels(str(tmp_path / "labels.csv"), [stored, "a.png"]) == {stored: "cat", "a.png": "dog"}


def test_an_image_with_two_labels_is_named_and_has_none():
    text = labels_json([["cat/a.png", 0], ["cat/b.png", 1], ["cat/b.png", 0], ["dog/c.png", 1], ["dog/c.png", 1]])
    with pytest.warns(UserWarning, match="gives 'cat/b.png' two labels, 1 and 0: keep one: it counts as no label"):
        assert find_labels(NAMES, text.encode(), "data") == [0, None, 1]


def test_a_file_that_labels_no_image_is_like_one_without_labels():
    assert find_labels(NAMES, labels_json([[name, None] for name in NAMES]).encode(), "data") is None


def test_parts_of_a_data_set_beside_other_folders_are_no_classes():
    with pytest.raises(UserError, match="the folders 'train', 'val' of data are parts of a data set"):
        find_labels(["extra/a.png", "train/b.png", "val/c.png"], None, "data")
    assert find_labels(["cat/a.png", "test/b.png"], None, "data") == ["cat", "test"]  # one alone may be a class
