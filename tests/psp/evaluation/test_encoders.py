"""Methods on held-out pairs, resumed and added to; and how much the outputs for one source differ."""

import time
from dataclasses import asdict, replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from psp.encoders import encoder_for
from psp.evaluation.encoders import evaluate_diversity, evaluate_method, pairwise
from psp.evaluation.methods import Method, encode_and_render
from psp.evaluation.per_image import means
from psp.evaluation.shared_jobs import HeldOutSet
from psp.losses.l2 import L2
from psp.mixing import Mixing
from psp.model import PSp, fit
from stylegan2.networks.registry import GENERATORS
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.images import to_uint8


class Counting:
    """Halves the target, and knows how many images it saw."""

    def __init__(self, stop_at=None, steps=0):
        self.seen, self.stop_at, self.steps = 0, stop_at, steps

    def method(self, **key):
        return Method("half", {"half": 1, **key}, 32, self.render, self.steps)

    def render(self, source, target, on_step):
        assert source.shape[2:] == (32, 32)
        if self.stop_at is not None and self.seen >= self.stop_at:
            raise KeyboardInterrupt
        self.seen += len(target)
        for step in range(self.steps):
            on_step(step + 1)
        return target * 0.5


@pytest.fixture
def run(tmp_path, metrics, pairs):
    def call(counting, count=7, batch_size=3, shown=0, key=(), **settings):
        held_out = HeldOutSet("all", pairs, count, {"data": "random", **settings}, batch_size)
        values = evaluate_method(counting.method(**dict(key)), held_out, metrics, tmp_path / "out", shown)
        return SimpleNamespace(values=values.first(count), pictures=values.pictures[: min(shown, count)])

    return call


@pytest.fixture
def targets(pairs):
    return pairs.targets


def test_values_are_those_of_each_image(run, targets):
    values = run(Counting()).values
    expected = (targets[:7] * 0.5).square().mean([1, 2, 3])
    np.testing.assert_allclose(values["mse"], expected, rtol=1e-5)
    np.testing.assert_allclose(values["identity"], 1 - values["perceptual"], rtol=1e-5)
    assert all(len(value) == 7 for value in values.values())
    assert list(means(values)) == ["mse", "perceptual", "identity", "ms_ssim", "seconds_per_image"]
    assert means(values)["mse"] == pytest.approx(expected.mean().item(), rel=1e-5)


def test_nothing_is_measured_twice(run):
    first, again = run(Counting(), shown=4), Counting()
    second = run(again, shown=4)
    assert again.seen == 0
    assert first.values.keys() == second.values.keys()
    assert all(np.array_equal(first.values[name], second.values[name]) for name in first.values)
    assert np.array_equal(first.pictures, second.pictures)


def test_an_interrupted_run_goes_on_after_its_last_batch(run, targets):
    with pytest.raises(KeyboardInterrupt):
        run(Counting(stop_at=6), shown=9)
    rest = Counting()
    resumed = run(rest, shown=9)
    assert rest.seen == 1
    np.testing.assert_allclose(resumed.values["mse"], (targets[:7] * 0.5).square().mean([1, 2, 3]), rtol=1e-5)
    assert len(resumed.pictures) == 7


def test_a_larger_count_adds_to_a_smaller_one_and_a_smaller_one_is_a_part(run):
    run(Counting(), count=4, shown=9)
    more = Counting()
    assert len(run(more, count=9, shown=9).values["mse"]) == 9
    assert more.seen == 5
    fewer = Counting()
    small = run(fewer, count=2, shown=9)
    assert fewer.seen == 0
    assert (len(small.values["mse"]), len(small.pictures)) == (2, 2)


@pytest.mark.parametrize("change", [{"key": {"steps": 2}}, {"batch_size": 2}, {"seed": 1}])
def test_other_settings_are_measured_for_themselves(run, change):
    run(Counting())
    other, back = Counting(), Counting()
    run(other, **change)
    assert other.seen == 7
    run(back)
    assert back.seen == 0


@pytest.mark.parametrize("shown", [0, 2, 4, 7, 9])
def test_the_first_outputs_are_kept(run, targets, shown):
    pictures = run(Counting(), shown=shown).pictures
    assert len(pictures) == min(shown, 7)
    if shown:
        assert pictures.dtype == np.uint8
        np.testing.assert_allclose(
            pictures[-1] / 127.5 - 1, targets[len(pictures) - 1].permute(1, 2, 0) / 2, atol=0.005
        )


def test_seconds_are_those_of_the_method_alone(tmp_path, metrics, pairs):
    class SlowPairs(type(pairs)):
        def batch(self, *place):
            time.sleep(0.2)
            return super().batch(*place)

    def render(source, target, on_step):
        time.sleep(0.05)
        return target

    held_out = HeldOutSet("all", SlowPairs(), 6, {}, batch_size=3)
    values = evaluate_method(Method("slow", {}, 32, render), held_out, metrics, tmp_path).values
    assert (values["seconds_per_image"] >= 0.05 / 3).all()
    assert values["seconds_per_image"].mean() < 0.2 / 3


def test_progress_counts_the_steps_of_optimisation(run, capsys, monkeypatch):
    monkeypatch.setattr("stylegan2.runtime.progress.is_interactive", lambda: True)
    with pytest.raises(KeyboardInterrupt):
        run(Counting(stop_at=3, steps=10))
    run(Counting(steps=10))
    printed = capsys.readouterr().err.replace("\r", "\n").splitlines()
    assert "10/30" in printed[-2] or any("| 10/30" in line for line in printed)
    assert "| 30/30" in printed[-1]
    assert "step" in printed[-1]


def test_a_damaged_file_is_measured_again(run, tmp_path, capsys):
    run(Counting())
    (path,) = (tmp_path / "out" / "all").iterdir()
    path.write_bytes(path.read_bytes()[:200])
    again = Counting()
    run(again)
    assert again.seen == 7
    assert "is damaged, so it is measured again" in capsys.readouterr().out


def test_another_precision_is_measured_for_itself_and_by_networks_in_full_precision(tmp_path, model, metrics, pairs):
    held_out, row = HeldOutSet("all", pairs, 2, {}, batch_size=2), encode_and_render(model, "a")
    full, half = (
        evaluate_method(row, held_out, metrics, tmp_path, precision=precision) for precision in ("fp32", "bf16")
    )
    assert full.path != half.path
    assert all(value.dtype == np.float32 for value in half.values.values())
    assert not np.array_equal(full.values["mse"], half.values["mse"])
    np.testing.assert_allclose(full.values["mse"], half.values["mse"], rtol=0.05)


# --- diversity ---


def test_the_mean_over_all_pairs():
    images = torch.rand(2, 4, 3, 8, 8)
    distances = [[(images[n, a] - images[n, b]).square().mean() for a in range(4) for b in range(a)] for n in range(2)]
    torch.testing.assert_close(pairwise(images, L2()), torch.tensor(distances).mean(1))


@pytest.fixture
def diverse(tmp_path, model, pairs):
    def call(shown=0, **mixing):
        held_out, row = HeldOutSet("all", pairs, 2, {}, batch_size=2), encode_and_render(model, "a")
        return evaluate_diversity(model, row, held_out, L2(), Mixing(**mixing), tmp_path, shown)

    return call


def test_more_rows_differ_more_and_none_not_at_all(diverse):
    few, all_rows = (diverse(outputs=3, mask=mask).values["diversity"] for mask in ("5", "0-5"))
    assert (few > 0).all()
    assert (all_rows > few).all()
    assert (diverse(outputs=3, mask="5", alpha=0.0).values["diversity"] == 0).all()


def test_pictures_are_the_outputs_in_order(diverse):
    two, three = (diverse(shown=1, mask="0-5", outputs=count, seed=3).pictures for count in (2, 3))
    assert (two.shape, three.shape) == ((1, 16, 32, 3), (1, 16, 48, 3))
    np.testing.assert_allclose(two.astype(int), three[:, :, :32], atol=1)
    assert np.abs(two[:, :, :16].astype(int) - two[:, :, 16:]).max() > 1


def test_other_mixings_are_measured_for_themselves(diverse):
    settings = [Mixing(outputs=2), Mixing(outputs=2, seed=1), Mixing(outputs=4), Mixing(outputs=2, mask="coarse")]
    settings.append(Mixing(outputs=2, alpha=0.5))
    assert len({diverse(**asdict(mixing)).path for mixing in settings}) == 5


def test_outputs_of_a_feature_encoder_bear_its_correction(tmp_path, pairs):
    sizes = {"z_dim": 8, "w_dim": 8, "channel_base": 512, "channel_max": 16, "mapping_layers": 1}
    generator = GENERATORS.build("stylegan2", 32, **sizes)
    model = PSp(encoder_for(generator, "light_feature"), generator).eval()
    for parameter in model.encoder.parameters():  # a fresh one corrects nothing
        torch.nn.init.normal_(parameter, std=0.1)
    held_out = HeldOutSet("all", pairs, 1, {})
    mixing = Mixing("5", outputs=2, alpha=0.0)
    row = encode_and_render(model, "a")
    values = evaluate_diversity(model, row, held_out, L2(), mixing, tmp_path, shown=1)
    source, _ = pairs.batch(0, 1, 32)
    with torch.no_grad():
        renderings = model(source), model.decode(model.encode(source).w_plus)
    expected, plain = (to_uint8(fit(image.clamp(-1, 1), 16))[0].astype(int) for image in renderings)
    np.testing.assert_allclose(values.pictures[0, :, :16], expected, atol=1)
    assert np.abs(plain - expected).max() > 5


def test_one_output_has_no_diversity(diverse):
    with pytest.raises(UserError, match="needs at least 2 outputs, not 1"):
        diverse(outputs=1)


# --- sets ---


def test_sets_have_folders_and_keys_of_their_own(tmp_path, pairs):
    whole = HeldOutSet("yaw 45", pairs, 9, {"task": "a"})
    sets = [whole, replace(whole, name="yaw 60"), replace(whole, key={"task": "b"}), replace(whole, batch_size=3)]
    files = [part.open_values(tmp_path, "row", {}).path for part in sets]
    assert [file.parent.name for file in files] == ["yaw_45", "yaw_60", "yaw_45", "yaw_45"]
    assert len(set(files)) == 4
    assert whole.open_values(tmp_path, "row", {}).path == replace(whole, count=3).open_values(tmp_path, "row", {}).path


def test_batches_are_the_remaining_pairs(pairs):
    held_out = HeldOutSet("all", pairs, 7, {}, batch_size=3)
    found = [target for _, target in held_out.batches(3, 8)]
    assert [len(target) for target in found] == [3, 1]
    assert torch.equal(torch.cat(found), pairs.targets[3:7])
