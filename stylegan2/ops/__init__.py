"""The operators of the generator family: FIR resampling, modulated convolution, noise and bias with activation.

All are twice differentiable, which R1 and path length need, and run on every device. On CUDA the filters and the
operations after a convolution are Triton kernels, elsewhere plain PyTorch; nothing is compiled at installation.
"""

from stylegan2.ops.convolution import Conv2d, conv2d, conv_transpose2d
from stylegan2.ops.dispatch import full_precision
from stylegan2.ops.epilogue import LRELU_GAIN, LRELU_SLOPE, add_noise, epilogue, leaky_relu, place_bias
from stylegan2.ops.fir import FIR_TAPS, binomial_blur, blur, downsample2x, fir_kernel, upsample2x
from stylegan2.ops.modulated import demodulation, modulated_conv2d, single_samples_pay, styled_conv2d
from stylegan2.ops.resample import (
    area_downsample,
    average_downsample2x,
    bilinear_upsample,
    downsample_conv2d,
    nearest_upsample2x,
    upsample_conv2d,
)

__all__ = [
    "FIR_TAPS",
    "LRELU_GAIN",
    "LRELU_SLOPE",
    "Conv2d",
    "add_noise",
    "area_downsample",
    "average_downsample2x",
    "bilinear_upsample",
    "binomial_blur",
    "blur",
    "conv2d",
    "conv_transpose2d",
    "demodulation",
    "downsample2x",
    "downsample_conv2d",
    "epilogue",
    "fir_kernel",
    "full_precision",
    "leaky_relu",
    "modulated_conv2d",
    "nearest_upsample2x",
    "place_bias",
    "single_samples_pay",
    "styled_conv2d",
    "upsample2x",
    "upsample_conv2d",
]
