"""Models measured beside one another, on the same images: quality under each network's name, and seconds per image.

methods.py      what is compared: encoders, mean face, optimisation; each is a row of the table
gauge.py        what is measured of an output
diversity.py    how much several outputs for one source differ
measuring.py    image after image, kept on disk as it comes
report.py       means, tables, pictures
"""

from psp.evaluation.diversity import diversity
from psp.evaluation.gauge import Gauge
from psp.evaluation.measuring import Measured, Measurement, Plan, measure_images, quality
from psp.evaluation.methods import (
    Method,
    encode_and_render,
    encoder_name,
    fingerprint,
    load_models,
    mean_face,
    optimise,
    refine,
)

__all__ = [
    "Gauge",
    "Measured",
    "Measurement",
    "Method",
    "Plan",
    "diversity",
    "encode_and_render",
    "encoder_name",
    "fingerprint",
    "load_models",
    "mean_face",
    "measure_images",
    "optimise",
    "quality",
    "refine",
]
