"""Values of single images, kept on disk: resumed, added to, and never taken for others."""

import time

import numpy as np
import pytest
import torch

from psp.evaluation import Gauge, Measurement, Method, Plan, measure_images, quality
from psp.evaluation.measuring import Store, slug
from psp.evaluation.report import means
from stylegan2.runtime.errors import UserError

IMAGES = torch.rand(9, 3, 16, 16) * 2 - 1


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


def batch(start, stop, source_size):
    return torch.zeros(stop - start, 3, source_size, source_size), IMAGES[start:stop]


def plan(folder, count=7, batch_size=3, keep=0, **settings):
    return Plan(count, folder, {"data": "random", **settings}, batch_size, keep=keep)


@pytest.fixture
def run(tmp_path, meters):
    def call(counting, count=7, batch_size=3, keep=0, key=(), **settings):
        measurement = quality(counting.method(**dict(key)), Gauge(meters, 16))
        return measure_images(measurement, batch, plan(tmp_path / "out", count, batch_size, keep, **settings))

    return call


def test_values_are_those_of_each_image(run):
    values = run(Counting()).values
    expected = (IMAGES[:7] * 0.5).square().mean([1, 2, 3])
    np.testing.assert_allclose(values["mse"], expected, rtol=1e-5)
    np.testing.assert_allclose(values["identity"], 1 - values["perceptual"], rtol=1e-5)
    assert all(len(value) == 7 for value in values.values())
    assert list(means(values)) == ["mse", "perceptual", "identity", "ms_ssim", "seconds_per_image"]
    assert means(values)["mse"] == pytest.approx(expected.mean().item(), rel=1e-5)


def test_nothing_is_measured_twice(run):
    first, again = run(Counting(), keep=4), Counting()
    second = run(again, keep=4)
    assert again.seen == 0
    assert first.values.keys() == second.values.keys()
    assert all(np.array_equal(first.values[name], second.values[name]) for name in first.values)
    assert np.array_equal(first.pictures, second.pictures)


def test_an_interrupted_run_goes_on_after_its_last_batch(run):
    with pytest.raises(KeyboardInterrupt):
        run(Counting(stop_at=6), keep=9)
    rest = Counting()
    resumed = run(rest, keep=9)
    assert rest.seen == 1
    np.testing.assert_allclose(resumed.values["mse"], (IMAGES[:7] * 0.5).square().mean([1, 2, 3]), rtol=1e-5)
    assert len(resumed.pictures) == 7


def test_a_larger_count_adds_to_a_smaller_one_and_a_smaller_one_is_a_part(run):
    run(Counting(), count=4, keep=9)
    more = Counting()
    assert len(run(more, count=9, keep=9).values["mse"]) == 9
    assert more.seen == 5
    fewer = Counting()
    small = run(fewer, count=2, keep=9)
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


@pytest.mark.parametrize("keep", [0, 2, 4, 7, 9])
def test_the_first_outputs_are_kept(run, keep):
    pictures = run(Counting(), keep=keep).pictures
    assert len(pictures) == min(keep, 7)
    if keep:
        assert pictures.dtype == np.uint8
        np.testing.assert_allclose(pictures[-1] / 127.5 - 1, IMAGES[len(pictures) - 1].permute(1, 2, 0) / 2, atol=0.005)


def test_seconds_are_those_of_the_method_alone(tmp_path, meters):
    def slow_batch(*place):
        time.sleep(0.2)
        return batch(*place)

    def render(source, target, on_step):
        time.sleep(0.05)
        return target

    measurement = quality(Method("slow", {}, 32, render), Gauge(meters, 16))
    values = measure_images(measurement, slow_batch, plan(tmp_path, count=6)).values
    assert (values["seconds_per_image"] >= 0.05 / 3).all()
    assert values["seconds_per_image"].mean() < 0.2 / 3


def test_progress_counts_the_steps_of_optimisation(run, capsys):
    with pytest.raises(KeyboardInterrupt):
        run(Counting(stop_at=3, steps=10))
    run(Counting(steps=10))
    printed = capsys.readouterr().err.replace("\r", "\n").splitlines()
    assert "10/30" in printed[-2] or any("| 10/30" in line for line in printed)
    assert "| 30/30" in printed[-1]
    assert "step" in printed[-1]


def test_a_damaged_file_is_measured_again(run, tmp_path, capsys):
    run(Counting())
    (path,) = (tmp_path / "out").iterdir()
    path.write_bytes(path.read_bytes()[:200])
    again = Counting()
    run(again)
    assert again.seen == 7
    assert "is damaged: it is measured again" in capsys.readouterr().out


def test_a_file_of_another_key_is_not_believed(tmp_path):
    first = Store(tmp_path, "a", {"x": 1})
    first.add({"mse": torch.ones(2)}, np.zeros((0, 4, 4, 3), np.uint8))
    first.save()
    second = Store(tmp_path, "a", {"x": 2})
    first.path.rename(second.path)
    assert Store(tmp_path, "a", {"x": 1}).count == 0
    assert Store(tmp_path, "a", {"x": 2}).count == 0


def test_fast_methods_do_not_write_after_each_batch(tmp_path):
    store = Store(tmp_path, "a", {})
    store.add({"mse": torch.ones(2)}, np.zeros((0, 4, 4, 3), np.uint8))
    assert not store.path.exists()
    store._saved_at -= 60
    store.add({"mse": torch.ones(2)}, np.zeros((0, 4, 4, 3), np.uint8))
    assert Store(tmp_path, "a", {}).count == 4


def test_a_disk_that_refuses_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    store = Store(tmp_path / "file", "a", {})
    store.add({"mse": torch.ones(2)}, np.zeros((0, 4, 4, 3), np.uint8))
    with pytest.raises(UserError, match="cannot write"):
        store.save()


def test_groups_have_folders_and_keys_of_their_own(tmp_path):
    whole = plan(tmp_path)
    parts = [whole.part("yaw 45"), whole.part("yaw 60"), whole.part("yaw 45", task="other")]
    assert [part.folder.name for part in parts] == ["yaw_45", "yaw_60", "yaw_45"]
    assert len({str(part.settings) for part in parts}) == 3


@pytest.mark.parametrize(
    ("name", "expected"),
    [("W+ optimisation, 500 steps", "w_plus_optimisation_500_steps"), ("pSp (light)", "psp_light"), ("日", "unnamed")],
)
def test_names_of_files(name, expected):
    assert slug(name) == expected


def test_a_measurement_may_be_of_anything(tmp_path):
    measurement = Measurement("mean", {}, 8, lambda source, target, on_step: ({"m": target.mean([1, 2, 3])}, target))
    values = measure_images(measurement, batch, plan(tmp_path)).values
    np.testing.assert_allclose(values["m"], IMAGES[:7].mean([1, 2, 3]), atol=1e-6)
