"""How good a picture is against its truth: pure functions, and `Mean` that gathers them."""

from unblur.metrics.functional import (
    detail,
    end_point_error,
    gaussian_blur,
    high_pass,
    psnr,
    sharpness,
    ssim,
)
from unblur.metrics.gather import Mean

__all__ = [
    "Mean",
    "detail",
    "end_point_error",
    "gaussian_blur",
    "high_pass",
    "psnr",
    "sharpness",
    "ssim",
]
