import multiprocessing
import subprocess
import sys
import warnings
from itertools import islice

import numpy as np
import pytest
import torch

from datasets.folder import ImageFolder
from datasets.loader import stream_batches
from datasets.sampler import StreamSampler
from datasets.training_data import MirroredImages
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.images import to_tensor
from stylegan2.runtime.pixels import to_planes

PIXELS = list(np.random.default_rng(0).integers(0, 256, (7, 8, 8, 3), np.uint8))


def batches(count, start=0, workers=0, mirror=True, batch_size=3, pixels=PIXELS):
    stream = stream_batches(MirroredImages(pixels, mirror, seed=0), len(pixels), batch_size, seed=0, workers=workers)
    return list(islice(stream(start), count))


def test_a_batch_is_what_the_sampler_says():
    images = torch.cat(batches(4, mirror=False))
    expected = [to_tensor(PIXELS[index]) for index, _ in islice(StreamSampler(7, seed=0), 12)]
    assert images.dtype == torch.float32
    assert torch.equal(images, torch.stack(expected))


def test_half_of_the_positions_are_mirrored():
    images = MirroredImages(PIXELS, mirror=True, seed=0)
    plain = to_planes(PIXELS[2])
    flipped = [np.array_equal(images[2, position], plain[:, :, ::-1]) for position in range(400)]
    straight = [np.array_equal(images[2, position], plain) for position in range(400)]
    assert all(a != b for a, b in zip(flipped, straight, strict=True))
    assert 150 < sum(flipped) < 250


def test_mirroring_depends_on_the_position_alone():
    images, other = MirroredImages(PIXELS, mirror=True, seed=0), MirroredImages(PIXELS, mirror=True, seed=1)
    flips = [[not np.array_equal(images[i, p], to_planes(PIXELS[i])) for p in range(64)] for i in range(7)]
    assert all(row == flips[0] for row in flips)
    np.random.seed(7)
    assert np.array_equal(images[3, 5], images[3, 5])
    assert any(not np.array_equal(other[0, p], images[0, p]) for p in range(64))


def test_without_mirror_nothing_is_flipped():
    images = MirroredImages(PIXELS, mirror=False, seed=0)
    assert all(np.array_equal(images[1, p], to_planes(PIXELS[1])) for p in range(32))


@pytest.mark.parametrize("workers", [1, 2])
def test_the_stream_does_not_depend_on_the_number_of_workers(workers):
    expected, actual = batches(9), batches(9, workers=workers)
    assert all(torch.equal(a, b) for a, b in zip(expected, actual, strict=True))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_stream_may_start_anywhere(workers):
    whole = torch.cat(batches(8))
    later = torch.cat(batches(4, start=10, workers=workers))
    assert torch.equal(later, whole[10:22])


def test_a_batch_may_be_larger_than_the_dataset():
    (batch,) = batches(1, batch_size=20)
    assert batch.shape == (20, 3, 8, 8)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_mistake_in_a_worker_is_still_one_sentence(tmp_path, workers):
    for n in range(6):
        (tmp_path / f"{n}.png").write_text("not an image: really")
    with pytest.raises(UserError) as caught, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        batches(1, workers=workers, pixels=ImageFolder(tmp_path, 8))
    assert str(caught.value).startswith(f"2 of 6 images of {tmp_path} cannot be read; the last: ")
    assert "\n" not in str(caught.value)
    assert not multiprocessing.active_children()  # although the error and its traceback are still there


ENDS_WITH_AN_ERROR = """
import atexit, multiprocessing.util
from stylegan2.runtime.errors import UserError
atexit.register(lambda: print("workers", len(multiprocessing.active_children())))  # before multiprocessing kills them
from datasets.loader import stream_batches
from datasets.training_data import MirroredImages
import numpy as np

pixels = np.zeros((4, 8, 8, 3), np.uint8)
stream = stream_batches(MirroredImages(pixels, False, 0), 4, 2, seed=0, workers=2)(0)
next(stream)
print("workers", len(multiprocessing.active_children()))
raise UserError("the end")
"""


def test_workers_have_ended_before_an_exit_kills_them():
    done = subprocess.run([sys.executable, "-c", ENDS_WITH_AN_ERROR], capture_output=True, text=True)
    assert done.stdout.split("\n") == ["workers 2", "workers 0", ""]
    assert done.stderr.splitlines()[-1].endswith("UserError: the end")


@pytest.mark.parametrize("workers", [0, 2])
def test_the_size_of_a_batch_may_depend_on_where_it_starts(workers):
    size_at = lambda position: 4 if position < 10 else 2  # noqa: E731
    stream = batches(6, batch_size=size_at, workers=workers)
    assert [len(batch) for batch in stream] == [4, 4, 4, 2, 2, 2]
    assert torch.equal(torch.cat(stream), torch.cat(batches(6))[:18])
    later = batches(2, start=12, batch_size=size_at, workers=workers)
    assert all(torch.equal(a, b) for a, b in zip(later, stream[3:5], strict=True))


def test_labels_come_with_their_images():
    labels = np.arange(7) * 10
    stream = stream_batches(MirroredImages(PIXELS, False, 0, labels), 7, 3, seed=0, workers=0)
    for images, labels_of_batch in islice(stream(0), 4):
        assert labels_of_batch.dtype == torch.int64
        for image, label in zip(images, labels_of_batch.tolist(), strict=True):
            assert torch.equal(image, to_tensor(PIXELS[label // 10]))
