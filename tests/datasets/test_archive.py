"""Archives that appear once they are complete."""

import zipfile

import pytest

from datasets.archive import open_archive
from stylegan2.runtime.errors import UserError


@pytest.mark.parametrize("name", ["a.zip", "a"])
def test_what_another_process_has_written_meanwhile_stays(name, tmp_path):
    out = tmp_path / name
    with pytest.raises(UserError, match="remove it, or give another"), open_archive(out) as add:
        add("one.png", b"1")
        with open_archive(out) as other:
            other("two.png", b"2")
    names = zipfile.ZipFile(out).namelist() if out.suffix else sorted(path.name for path in out.iterdir())
    assert names == ["two.png"]
    assert [path.name for path in tmp_path.iterdir()] == [name]
