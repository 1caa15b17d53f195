"""Labels of latents: what a CSV file may say, and that each mistake is one sentence."""

import pytest
import torch

from stylegan2.latents.codes import save_codes
from stylegan2.latents.sampling import seeded_w
from stylegan2.latents.scores import read_scores, scored_latents
from stylegan2.networks.registry import GENERATORS
from stylegan2.runtime.errors import UserError


@pytest.fixture
def generator():
    torch.manual_seed(0)
    return GENERATORS.build("stylegan2", 16, z_dim=8, w_dim=8, channel_base=128, channel_max=8, mapping_layers=1).eval()


@pytest.fixture
def write(tmp_path):
    def call(text):
        (tmp_path / "labels.csv").write_text(text, encoding="utf-8")
        return tmp_path / "labels.csv"

    return call


def test_numbers_and_words(write):
    found = read_scores(write("\ufeffSeed, glasses ,yaw\n0,yes,-12.5\n\n7,False,3\n"))
    assert (found.key, found.keys) == ("seed", ["0", "7"])
    assert {name: values.tolist() for name, values in found.values.items()} == {"glasses": [1, 0], "yaw": [-12.5, 3]}


@pytest.mark.parametrize(
    "text", ["", "seed\n1\n2\n", "file,smile\na,1\nb,0\n", "seed,smile\n1,1\n", "seed,a,a\n1,0,1\n2,0,0\n"]
)
def test_a_wrong_header_is_one_sentence(write, text):
    with pytest.raises(
        UserError, match="needs a header `seed,ATTRIBUTE,...` or `name,ATTRIBUTE,...` and at least two rows"
    ):
        read_scores(write(text))


@pytest.mark.parametrize("row", ["3,1", "3,1,0,1", "3,1,maybe", "3,1,nan", "-3,1,0", "face,1,0"])
def test_a_wrong_row_is_named(write, row):
    with pytest.raises(UserError, match="row 3 of .* must be a seed and 2 values, each a number, yes or no"):
        read_scores(write(f"seed,smile,yaw\n1,1,0\n{row}\n"))


def test_a_missing_file_is_one_sentence(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        read_scores(tmp_path / "nowhere.csv")


def test_seeds_are_mapped(generator, write):
    w, scores = scored_latents(generator, write("seed,smile\n4,1\n2,0\n"), None)
    torch.testing.assert_close(w, seeded_w(generator, [4, 2])[:, 0])
    assert scores["smile"].tolist() == [1, 0]


def test_names_are_looked_up(generator, write, tmp_path):
    w_plus = torch.randn(3, 6, 8)
    save_codes(tmp_path / "latents.npz", ["a", "b", "c/d"], w_plus)
    labels = write("name,smile\nc/d,0.5\na,-1\n")
    w, scores = scored_latents(generator, labels, tmp_path / "latents.npz")
    torch.testing.assert_close(w, w_plus[[2, 0]].mean(1))
    assert scores["smile"].tolist() == [0.5, -1]
    with pytest.raises(UserError, match="give the file of the codes as `latents`"):
        scored_latents(generator, labels, None)
    with pytest.raises(UserError, match="no codes of 1 labelled names, such as 'e'"):
        scored_latents(generator, write("name,smile\ne,1\na,0\n"), tmp_path / "latents.npz")
