"""How coarsely each block of a frame was encoded, as its decoder notes it beside the samples.

FFmpeg notes it where it is requested (`REQUEST`), in the layout of its `AVVideoEncParams`.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import av
import numpy as np

from unblur.video.side_data import side_data

if TYPE_CHECKING:
    from torch import Tensor

REQUEST = {"export_side_data": "venc_params"}
"""Option of a decoder that makes it note quantizers."""
NOTING = "h264"
"""The codec whose decoder notes them on the scale of H.264."""
KIND = "VIDEO_ENC_PARAMS"
H264 = 1
"""The kind of quantizers that H.264 has, from 0 (fine) to 51."""
BLOCK = 16
"""Pixels along each side of a macroblock."""
_HEAD = struct.Struct("@IQQii")
"""Number of blocks, where they begin, bytes of each, kind of quantizers, quantizer of the frame."""
_PLACE = np.dtype([("x", "i4"), ("y", "i4"), ("w", "i4"), ("h", "i4"), ("delta", "i4")])


def quantizers(image: av.VideoFrame) -> Tensor | None:
    """Quantizer of each macroblock of a frame of H.264.

    Returns:
        (ceil(H/16), ceil(W/16)) float32, 0 to 51, whatever the bit depth; None where the decoder
        noted none, as of other codecs.
    """
    import torch

    notes = side_data(image).get(KIND)
    if notes is None or len(notes) < _HEAD.size:
        return None
    count, first, size, kind, base = _HEAD.unpack_from(notes)
    if kind != H264 or not count or size < _PLACE.itemsize or first + count * size > len(notes):
        return None
    found = np.full((-(-image.height // BLOCK), -(-image.width // BLOCK)), base, np.float32)
    raw = np.frombuffer(notes, np.uint8, count * size, first).reshape(count, size)
    blocks = raw[:, : _PLACE.itemsize].copy().view(_PLACE)[:, 0]
    rows, columns = blocks["y"] // BLOCK, blocks["x"] // BLOCK
    inside = (rows >= 0) & (rows < found.shape[0]) & (columns >= 0) & (columns < found.shape[1])
    found[rows[inside], columns[inside]] = base + blocks["delta"][inside]
    deeper = 6 * (max(part.bits for part in image.format.components) - 8)
    return torch.from_numpy(found - deeper)
