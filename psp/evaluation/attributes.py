"""Train a classifier of attributes once for each set of labelled images, and cache it."""

import hashlib
from typing import Protocol

import torch
from torch import Tensor

from psp.perception.attributes import AttributeClassifier, accuracies, fit_attributes
from psp.perception.probe import AttributeProbe, fit_probe
from stylegan2.runtime import checkpoint
from stylegan2.runtime.errors import CheckpointError
from stylegan2.runtime.files import cache_folder
from stylegan2.runtime.tensors import load_module, module_tensors

CLASSIFIER_VERSION = 2  # names kept classifiers: raise it whenever their training changes
KIND = "attributes"
PROBE_BELOW = 5_000  # with fewer labelled images than this, a network trained from scratch would memorise them
SMALLEST_SIDE, LARGEST_SIDE = 32, 64


class LabelledImages(Protocol):
    """Images with attributes, such as `datasets.labelled.LabelledFaces`."""

    side: int
    """side of a picture in pixels"""
    key: str
    """key of the cache, which changes whenever images or labels change"""

    def read(self) -> tuple[list[str], list[Tensor]]:
        """Return (names of the A attributes, [images, labels, held-out images, held-out labels]).

        Images are uint8 [N, 3, side, side]; labels [N, A] are 1, 0 or, where they are unknown, NaN.
        """
        ...


def classifier_side(img_resolution: int) -> int:
    """Return the input size of a classifier for images of a size: at most 64 px, where attributes are visible."""
    return max(SMALLEST_SIDE, min(LARGEST_SIDE, img_resolution))


def attribute_classifier(
    labelled: LabelledImages, device: torch.device | str = "cpu"
) -> tuple[AttributeClassifier | AttributeProbe, dict[str, float]]:
    """Train a classifier in the first call, and read it from the cache in later ones.

    Thousands of images train a network from scratch. With fewer images, a linear probe is fitted to the features of a
    pretrained network.

    Returns:
        The classifier, and the balanced accuracy of each attribute on held-out images.
    """
    name = f"v{CLASSIFIER_VERSION} {labelled.side} px {labelled.key}"
    path = cache_folder() / f"attributes-{hashlib.sha256(name.encode()).hexdigest()[:16]}.safetensors"
    try:
        tensors, metadata = checkpoint.read(path)
        kind = AttributeProbe if metadata["probe"] else AttributeClassifier
        classifier = kind(**metadata["classifier"])
        load_module(classifier, tensors, KIND)
    except CheckpointError:  # there is none yet, or it is damaged
        classifier, measured = _train(labelled, device)
        metadata = {"kind": KIND, "classifier": classifier.config, "accuracies": measured}
        metadata["probe"] = isinstance(classifier, AttributeProbe)
        checkpoint.save(path, module_tensors(KIND, classifier), metadata)
    return classifier.eval().requires_grad_(False).to(device), metadata["accuracies"]


def _train(
    labelled: LabelledImages, device: torch.device | str
) -> tuple[AttributeClassifier | AttributeProbe, dict[str, float]]:
    names, (images, labels, test_images, test_labels) = labelled.read()
    classifier: AttributeClassifier | AttributeProbe
    if len(images) < PROBE_BELOW:
        classifier = AttributeProbe(names, labelled.side).to(device)
        fit_probe(classifier, images, labels)
    else:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            classifier = AttributeClassifier(names, labelled.side).to(device)
            fit_attributes(classifier, images, labels)
    return classifier, accuracies(classifier, names, test_images, test_labels)
