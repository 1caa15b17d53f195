"""Toonify: a photo becomes a portrait in the style of a blended generator (pSp, section 4.5).

The recipe is unpaired: the pairs are those of inversion, and the generator (`scripts/blend.py` makes one) cannot render
a photo, so the encoder finds the nearest that it can. The paper's authors liked about 6000 steps best: longer
training looks more like the photo and less like the style. With --source_data it is trained on true pairs.
"""

from datasets.tasks.inversion import Inversion
from datasets.tasks.registry import register_task


@register_task("toonify")
class Toonify(Inversion):
    lambdas = {"l2": 1.0, "perceptual": 0.8, "id": 1.0, "w_norm": 0.025}  # noqa: RUF012
