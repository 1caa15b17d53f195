"""Records of a long work: what is whole is found again, whoever wrote it and however its writer ended."""

import json

from stylegan2.runtime.journal import Journal, Records, journals

NUMBERS = {"a": 0, "b": 1, "c": 2}


def test_the_newest_record_of_each_item_is_found(tmp_path):
    with Journal(tmp_path) as first:
        first.append({"file": "a", "value": 1})
        first.append({"file": "b", "value": 2})
    with Journal(tmp_path) as second:
        second.append({"file": "a", "value": 3})
        second.append({"file": "somebody else's", "value": 4})
    assert len(journals(tmp_path)) == 2
    with Records(journals(tmp_path), NUMBERS, "file") as records:
        assert [n in records for n in range(3)] == [True, True, False]
        assert [records.get(0)["value"], records.get(1)["value"], records.get(2)] == [3, 2, None]


def test_bytes_come_back_with_their_record(tmp_path):
    with Journal(tmp_path) as journal:
        journal.append({"file": "c"}, [b"123", b""])
        journal.append({"file": "a"}, [b"4", b"56"])
    with Records(journals(tmp_path), NUMBERS, "file") as records:
        assert all(records.has_blobs(n, records.get(n), 2) for n in (0, 2))
        assert records.blobs(0, records.get(0)) == [b"4", b"56"]
        assert records.blobs(2, records.get(2)) == [b"123", b""]
        assert not records.has_blobs(0, records.get(0), 3)


def test_a_torn_line_is_passed_over_and_written_behind(tmp_path):
    path = tmp_path / "manifest.jsonl"
    whole, torn = json.dumps({"file": "a"}), json.dumps({"file": "b"})
    path.write_text(f"{whole}\n[1]\n{torn[:-3]}")
    with Journal(tmp_path, path) as journal:
        journal.append({"file": "c"})
    with Records([path, tmp_path / "none.jsonl"], NUMBERS, "file") as records:
        assert [n in records for n in range(3)] == [True, False, True]


def test_bytes_that_a_record_claims_are_held_against_the_file(tmp_path):
    with Journal(tmp_path) as journal:
        journal.append({"file": "a"}, [b"123"])
        for claimed in ([0, 10**12], [-3, 3], "no list", [0.5, 2], [0, "1"], None):
            journal.append({"file": "b", "blobs": claimed})
    (lines,) = journals(tmp_path)
    texts = lines.read_text().splitlines()
    for text in texts[1:]:
        lines.write_text(f"{texts[0]}\n{text}\n")
        with Records([lines], NUMBERS, "file") as records:
            assert records.has_blobs(0, records.get(0), 1)
            assert not records.has_blobs(1, records.get(1), 1), text


def test_records_of_another_form_are_passed_over(tmp_path):
    with Journal(tmp_path) as journal:
        for record in ({"file": ["a"]}, {"file": None}, {}, {"file": "a", "bad": 1}):
            journal.append(record)
    with Records(journals(tmp_path), NUMBERS, "file", lambda record: "bad" not in record) as records:
        assert not any(n in records for n in range(3))
