"""Pairs and sources of tasks, converted to tensors."""

import torch


def make_pair(task, *args):
    """Return the source and the target that `task.make_pair` makes, which must be arrays, as tensors."""
    source, target = task.make_pair(*args)
    return torch.from_numpy(source), torch.from_numpy(target)


def read_source(task, *args, **named):
    """Return the source that `task.read_source` reads, which must be an array, as a tensor, and the picture to show."""
    source, picture = task.read_source(*args, **named)
    return torch.from_numpy(source), picture
