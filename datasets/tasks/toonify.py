"""Toonify: translating a photo to a portrait in the style of a blended generator (pSp, arXiv 2008.00951, section 4.5).

The training needs no pairs: source and target are the same photo, as in inversion. The generator, which
`scripts/blend.py` creates, cannot render photos, so the encoder finds the most similar portrait that it can render. The
authors of the paper prefer about 6000 steps, because longer training follows the photo more and the style less. With
source files, the training uses exact pairs.
"""

from datasets.tasks.inversion import Inversion
from datasets.tasks.registry import register_task


@register_task("toonify")
class Toonify(Inversion):
    lambdas = {"l2": 1.0, "perceptual": 0.8, "id": 1.0, "w_norm": 0.025}  # noqa: RUF012
