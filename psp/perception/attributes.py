"""A small classifier of binary attributes, trained from labelled images in a minute or two.

StyleGAN (arXiv 1812.04948, section 4.2) trains one network of the size of its discriminator for each attribute; here,
all attributes share one small network.
"""

from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from psp.perception.crop import WHOLE, crop_resize
from stylegan2.metrics.samples import as_rgb, batches
from stylegan2.runtime.randomness import derive_seed, seed_step

LAST_SIDE = 4
DROPOUT = 0.3


class AttributeClassifier(nn.Module):
    """A network from images to one logit for each attribute, which is positive where the attribute is present.

    Args:
        names: Names of the attributes.
        side: Side, in pixels, to which images are resized: a power of two, at least 8.
        width: Channels after the first convolution. They double whenever the resolution halves, up to 8 * width.
    """

    def __init__(self, names: Sequence[str], side: int = 64, width: int = 24) -> None:
        super().__init__()
        self.names, self.side = tuple(names), side
        self.config = {"names": list(names), "side": side, "width": width}
        layers: list[nn.Module] = [nn.Conv2d(3, width, 3, 2, 1, bias=False)]
        channels, side = width, side // 2
        while side > LAST_SIDE:
            wider = min(2 * channels, 8 * width)
            layers += [nn.BatchNorm2d(channels), nn.ReLU(), nn.Conv2d(channels, wider, 3, 2, 1, bias=False)]
            channels, side = wider, side // 2
        layers += [nn.BatchNorm2d(channels), nn.ReLU(), nn.Flatten(), nn.Dropout(DROPOUT)]
        self.layers = nn.Sequential(*layers, nn.Linear(channels * LAST_SIDE**2, len(self.names)))

    def forward(self, images: Tensor) -> Tensor:
        """Map images [N, C, H, W] in [-1, 1], with C = 1, 3 or 4, to logits [N, A]."""
        x = crop_resize(as_rgb(images), WHOLE, self.side, self.side)  # [N, 3, side, side]
        return self.layers(x.contiguous(memory_format=torch.channels_last))  # [N, A]

    def by_name(self, images: Tensor) -> dict[str, Tensor]:
        """Map images [N, C, H, W] in [-1, 1], with C = 1, 3 or 4, to {attribute: logits [N]}."""
        return dict(zip(self.names, self(images).unbind(1), strict=True))


@torch.enable_grad()
def fit_attributes(
    classifier: AttributeClassifier,
    images: Tensor,
    labels: Tensor,
    epochs: int = 6,
    batch_size: int = 64,
    learning_rate: float = 2e-3,
    seed: int = 0,
) -> None:
    """Train a classifier on the binary cross entropy, then freeze it in evaluation mode.

    The optimizer is AdamW, with a learning rate that falls to 0 along a cosine. The result depends only on the seed and
    the data.

    Args:
        classifier: The classifier of A attributes that is trained.
        images: uint8 [N, C, H, W].
        labels: [N, A]: 1 where an attribute is present, 0 where it is absent, NaN where this is not known.
        epochs: Passes over the images.
        batch_size: Images per step.
        learning_rate: Learning rate of the first step, which is the largest one.
        seed: Seed of the order of the images and of the dropout.
    """
    device = next(classifier.parameters()).device
    classifier.train().requires_grad_(True).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(classifier.parameters(), lr=learning_rate, weight_decay=1e-2)
    steps = epochs * -(-len(images) // batch_size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for epoch in range(epochs):
        seed_step(seed, 0, epoch)
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(derive_seed(seed, 1, epoch)))
        for part in batches(len(images), batch_size, f"classifier {epoch + 1}/{epochs}"):
            chosen = order[part]
            if len(chosen) < 2:  # batch normalisation cannot compute statistics from one image
                continue
            logits = classifier(as_float(images[chosen]).to(device))  # [n, A]
            wanted = labels[chosen].float().to(device)  # [n, A]
            known = ~wanted.isnan()
            loss = F.binary_cross_entropy_with_logits(logits, wanted.nan_to_num(), known.float(), reduction="sum")
            loss = loss / known.sum().clamp_min(1)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
    classifier.eval().requires_grad_(False)


@torch.no_grad()
def accuracies(
    classifier: nn.Module, names: Sequence[str], images: Tensor, labels: Tensor, batch_size: int = 64
) -> dict[str, float]:
    """Compute the balanced accuracy of each attribute.

    The balanced accuracy is the mean of two accuracies: that over the images that have the attribute and that over the
    images that do not.

    Args:
        classifier: A network from images to the logits of A attributes.
        names: Names of the attributes.
        images: uint8 [N, C, H, W].
        labels: [N, A]: 1 where an attribute is present, 0 where it is absent, NaN where this is not known.
        batch_size: Number of images that are classified at a time.

    Returns:
        {attribute: accuracy in [0, 1]}, or NaN for an attribute that is present in all images or in none.
    """
    device = next((t.device for t in classifier.state_dict().values()), torch.device("cpu"))
    parts = [as_float(part).to(device) for part in images.split(batch_size)]
    predicted = classify(classifier, parts) > 0  # [N, A]
    yes, no = labels == 1, labels == 0  # [N, A]; NaN is neither
    sides = [(predicted & yes).sum(0) / yes.sum(0), (~predicted & no).sum(0) / no.sum(0)]  # [A] each
    return dict(zip(names, ((sides[0] + sides[1]) / 2).tolist(), strict=True))


@torch.no_grad()
def classify(classifier: nn.Module, images: Iterable[Tensor]) -> Tensor:
    """Compute the logits [N, A], on the CPU, of batches of images [n, C, H, W] in [-1, 1]."""
    return torch.cat([classifier(batch).cpu() for batch in images])  # [N, A]


def as_float(images: Tensor) -> Tensor:
    """Convert uint8 [N, C, H, W] to float32 in [-1, 1]."""
    return images.float() / 127.5 - 1
