"""Compute the multi-scale structural similarity (Wang, Simoncelli and Bovik 2003)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from stylegan2.runtime.errors import UserError

# Wang, Simoncelli and Bovik 2003, "Multiscale structural similarity for image quality assessment", section 3.2.
SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
WINDOW, SIGMA = 11, 1.5  # pixels
C1, C2 = 0.01**2, 0.03**2  # of images in [0, 1]


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
