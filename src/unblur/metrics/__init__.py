"""How good an image is against its truth: pure functions."""

from unblur.metrics.flip import flip, flip_map
from unblur.metrics.functional import (
    added_gradient,
    blur_effect,
    detail,
    end_point_error,
    high_pass,
    mesh,
    psnr,
    sharpness,
    ssim,
    ssim_uniform,
    ssim_volume,
    tpsnr_pq,
)
from unblur.metrics.ms_ssim import ms_ssim
from unblur.metrics.temporal import tof, tpsnr_diff, warp_error

__all__ = [
    "added_gradient",
    "blur_effect",
    "detail",
    "end_point_error",
    "flip",
    "flip_map",
    "high_pass",
    "mesh",
    "ms_ssim",
    "psnr",
    "sharpness",
    "ssim",
    "ssim_uniform",
    "ssim_volume",
    "tof",
    "tpsnr_diff",
    "tpsnr_pq",
    "warp_error",
]
