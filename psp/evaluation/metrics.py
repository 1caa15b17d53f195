"""Compute the metrics of an encoder's outputs, one value for each image."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from psp.losses import LOSSES
from psp.perception.segmenter import Segmenter, load_segmenter, overlaps
from stylegan2.runtime.errors import UserError

# MS-SSIM: Wang, Simoncelli and Bovik 2003, section 3.2.
SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
WINDOW, SIGMA = 11, 1.5  # pixels
C1, C2 = 0.01**2, 0.03**2  # of images in [0, 1]


class Metrics(nn.Module):
    """Compare outputs with their targets by frozen networks.

    Values of different networks must not be compared, so reports give the network with each number.

    Args:
        perceptual: Distance of two images, with an attribute `name`.
        identity: Distance of two faces, with an attribute `name`.
        segmenter: Finds the parts of a face in an output, where sources are one-hot label maps.
    """

    def __init__(self, perceptual: nn.Module, identity: nn.Module, segmenter: Segmenter | None = None) -> None:
        super().__init__()
        self.perceptual, self.identity, self.segmenter = perceptual, identity, segmenter
        self.networks = {"perceptual": str(perceptual.name), "identity": str(identity.name)}
        if segmenter is not None:
            self.networks["segmenter"] = segmenter.name
        self.requires_grad_(False).eval()

    @torch.no_grad()
    def reconstruction(self, output: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Compare images pixel by pixel, perceptually and by identity.

        Args:
            output: Images [N, 3, T, T], clamped to [-1, 1].
            target: Images [N, 3, T, T] in [-1, 1].

        Returns:
            {metric: [N]}. The mean squared error ("mse") is on the [-1, 1] scale. The perceptual distance is smaller
            where images are closer. The identity similarity is 1 for the same person.
        """
        output = output.clamp(-1, 1)
        return {
            "mse": (output - target).square().mean([1, 2, 3]),  # [N]
            "perceptual": self.perceptual(output, target),  # [N]
            "identity": 1 - self.identity(output, target),  # [N]
        }

    @torch.no_grad()
    def forward(self, output: Tensor, source: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Compute all metrics.

        Args:
            output: Images [N, 3, T, T], clamped to [-1, 1].
            source: Inputs of the encoder, [N, C, S, S], which are one-hot label maps if there is a segmenter.
            target: Images [N, 3, T, T] in [-1, 1].

        Returns:
            {metric: [N]}: the metrics of `reconstruction` and MS-SSIM. With a segmenter also "intersection" and "union"
            of each label, [N, label_nc] in pixels, from which the mIoU is computed.
        """
        values = {**self.reconstruction(output, target), "ms_ssim": ms_ssim(output, target)}
        if self.segmenter is not None:
            drawn = self.segmenter.segment(output.clamp(-1, 1))  # [N, s, s]
            truth = label_ids(source, self.segmenter.resolution)  # [N, s, s]
            values["intersection"], values["union"] = overlaps(drawn, truth, self.segmenter.label_nc)
        return values

    def title(self, metric: str) -> str:
        """Return a metric with its network for a chart or a table, such as "perceptual (effnet)"."""
        return f"{metric} ({self.networks[metric]})" if metric in self.networks else metric

    def titles(self, size: int) -> dict[str, str]:
        """Return {metric: title in a table} for images of `size` pixels a side."""
        return {
            "mse": "mse",
            "perceptual": self.title("perceptual"),
            "identity": self.title("identity"),
            "ms_ssim": ms_ssim_label(size),
            **({"miou": f"mIoU ({self.segmenter.name})"} if self.segmenter is not None else {}),
            "seconds_per_image": "seconds per image",
        }


def build_metrics(segmenter: Segmenter | None = None, **networks: dict[str, object]) -> Metrics:
    """Build metrics with named networks: `perceptual={"network": NAME, "path": FILE}, id={...}`.

    The default network is `auto`: that of the paper if its file is found, else one that needs no download.
    """
    perceptual, identity = (LOSSES[name](**networks.get(name, {})) for name in ("perceptual", "id"))
    return Metrics(perceptual, identity, segmenter)


def pick_segmenter(path: str | None, label_nc: int) -> Segmenter | None:
    """Load a segmenter from a file, or the shipped one.

    Returns:
        The segmenter, or None, with a printed line, if its number of labels is not `label_nc`.
    """
    segmenter = load_segmenter(path) if path else load_segmenter()
    if segmenter.label_nc == label_nc:
        return segmenter
    print(f"{segmenter.name} knows {segmenter.label_nc} labels but the model {label_nc}, so mIoU is left out")
    return None


def label_ids(one_hot: Tensor, size: int) -> Tensor:
    """Turn label maps [N, label_nc, S, S] of 0 and 1 into ids int64 [N, size, size] by nearest neighbour."""
    ids = one_hot.argmax(1, keepdim=True).float()  # [N, 1, S, S]
    return F.interpolate(ids, (size, size), mode="nearest-exact")[:, 0].long()  # [N, size, size]


def ms_ssim_scales(size: int) -> int:
    """Return how many of the five scales fit an image: each halves its side, and the window must fit."""
    return sum(size // 2**scale >= WINDOW for scale in range(len(SCALE_WEIGHTS)))


def ms_ssim_label(size: int) -> str:
    """Return the name of `ms_ssim` for images of this side, as values with different numbers of scales differ."""
    scales = ms_ssim_scales(size)
    return "MS-SSIM" if scales == len(SCALE_WEIGHTS) else f"MS-SSIM ({scales} of {len(SCALE_WEIGHTS)} scales)"


@torch.no_grad()
def ms_ssim(output: Tensor, target: Tensor) -> Tensor:
    """Compute the multi-scale structural similarity (Wang et al. 2003, eq. 7).

    It uses five scales, an 11x11 Gaussian window of sigma 1.5 that stays within the image, and 2x2 means between the
    scales. Channels are measured separately and averaged; negative terms count as 0. Images smaller than 176 px have
    fewer scales (3 at 64 px), whose weights are normalised to the sum 1 (see `ms_ssim_label`).

    Args:
        output: Images [N, C, H, W] in [-1, 1].
        target: Images [N, C, H, W] in [-1, 1].

    Returns:
        [N], 1 for equal images.

    Raises:
        UserError: The images have fewer than 11 pixels a side.
    """
    size = min(output.shape[2:])
    scales = ms_ssim_scales(size)
    if not scales:
        raise UserError(f"MS-SSIM needs images of at least {WINDOW} pixels, not {size}")
    weights = torch.tensor(SCALE_WEIGHTS[:scales], device=output.device)
    weights = weights / weights.sum()  # [scales]
    x, y = (image.clamp(-1, 1) / 2 + 0.5 for image in (output, target))
    terms = []
    for scale in range(scales):
        if scale:
            x, y = F.avg_pool2d(x, 2), F.avg_pool2d(y, 2)  # [N, C, H / 2, W / 2]
        luminance, structure = _similarities(x, y)  # [N, C, H', W'] each
        last = scale == scales - 1  # luminance is compared only at the coarsest scale
        terms.append((luminance * structure if last else structure).mean([2, 3]).clamp(min=0))  # [N, C]
    return (torch.stack(terms, dim=-1) ** weights).prod(-1).mean(1)  # [N]


def _similarities(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Compute eq. 1 to 3 at each position of the window.

    Returns:
        The luminance term, and contrast times structure, [N, C, H - 10, W - 10] each.
    """
    position = torch.arange(WINDOW, device=x.device, dtype=x.dtype) - WINDOW // 2
    gaussian = torch.exp(-(position**2) / (2 * SIGMA**2))
    gaussian = gaussian / gaussian.sum()  # [11]
    count, channels, height, width = x.shape
    moments = torch.cat([x, y, x * x, y * y, x * y]).reshape(-1, 1, height, width)  # [5 N C, 1, H, W]
    moments = F.conv2d(moments, gaussian[None, None, :, None])  # [5 N C, 1, H - 10, W]
    moments = F.conv2d(moments, gaussian[None, None, None, :])  # [5 N C, 1, H - 10, W - 10]
    mean_x, mean_y, xx, yy, xy = moments.reshape(5, count, channels, *moments.shape[2:])
    luminance = (2 * mean_x * mean_y + C1) / (mean_x**2 + mean_y**2 + C1)
    contrast = 2 * (xy - mean_x * mean_y) + C2
    return luminance, contrast / (xx - mean_x**2 + yy - mean_y**2 + C2)
