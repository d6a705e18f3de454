"""How coarsely each block of a frame was encoded, as its decoder notes it beside the samples.

FFmpeg notes it where it is requested (`REQUEST`), in the layout of its `AVVideoEncParams`, on the
scale of the codec. Here all come on that of H.264, where 6 more double the step of quantization.
"""

from __future__ import annotations

import re
import struct
from functools import lru_cache
from typing import TYPE_CHECKING

import av
import numpy as np
from numpy.typing import NDArray

from unblur.video.side_data import side_data

if TYPE_CHECKING:  # torch takes a second to import; reading what a file holds needs none of it
    from torch import Tensor

REQUEST = {"export_side_data": "venc_params"}
"""Option of a decoder that makes it note quantizers."""
NOTING = frozenset(
    {
        *("h264", "vp9", "mpeg1video", "mpeg2video", "mpeg4", "msmpeg4v1", "msmpeg4v2"),
        *("msmpeg4v3", "wmv1", "wmv2", "flv1", "h263", "rv10", "rv20"),
    }
)
"""Codecs whose decoders note them, by FFmpeg's names."""
KIND = "VIDEO_ENC_PARAMS"
VP9, H264, MPEG = 0, 1, 2
"""Kinds of quantizers: VP9's index into a table of steps, 0 to 255; that of H.264; steps of MPEG-1,
MPEG-2, MPEG-4 and their like."""
BLOCK = 16
"""Pixels along each side of a macroblock."""
FINEST = 0.625
"""Step of H.264's quantizer 0, of a transform that keeps sums of squares."""
COARSEST = 51
_BARE = 3
"""Quantizers of H.264 by which blocks of MPEG are coarser than their step: no filter smooths their
edges, and no prediction within the frame helps them."""
_VP9_GAIN = 8
"""By how much VP9's transform makes coefficients larger than one that keeps sums of squares."""
_X265 = re.compile(rb"x265 \(build .{,4000}? rc=crf crf=(\d+(?:\.\d+)?) ", re.DOTALL)
"""What x265 writes of itself into the header of a stream, where it aimed at one quality."""
_LONGEST = 2**18
"""Bytes of a header that are searched for it; headers that x265 wrote have some 3000."""
_COARSER = 6.0
"""Quantizers by which frames of a rate factor of x265 are coarser than its number."""
_HEAD = struct.Struct("@IQQii")
"""Number of blocks, where they begin, bytes of each, kind of quantizers, quantizer of the frame."""
_PLACE = np.dtype([("x", "i4"), ("y", "i4"), ("w", "i4"), ("h", "i4"), ("delta", "i4")])


def quantizers(image: av.VideoFrame) -> Tensor | None:
    """Quantizer of each square of 16 pixels of a frame, of the coarsest block in it.

    Returns:
        (ceil(H/16), ceil(W/16)) float32, 0 (fine) to 51 as of H.264, whatever the codec and the bit
        depth; None where the decoder noted none.
    """
    import torch

    notes = side_data(image).get(KIND)
    if notes is None or len(notes) < _HEAD.size:
        return None
    count, first, size, kind, base = _HEAD.unpack_from(notes)
    if count and (size < _PLACE.itemsize or first + count * size > len(notes)):
        return None
    blocks = np.zeros(0, _PLACE)
    if count:
        raw = np.frombuffer(notes, np.uint8, count * size, first).reshape(count, size)
        blocks = raw[:, : _PLACE.itemsize].copy().view(_PLACE)[:, 0]
    rows, columns = -(-image.height // BLOCK), -(-image.width // BLOCK)
    noted = base + _coarsest(blocks, rows, columns)
    bits = max(part.bits for part in image.format.components)
    found = _as_of_h264(kind, noted, bits)
    return None if found is None else torch.from_numpy(found.astype(np.float32))


def _coarsest(blocks: NDArray[np.void], rows: int, columns: int) -> NDArray[np.float64]:
    """The largest difference from the frame's quantizer in each square; 0 where no block lies."""
    found = np.full((rows, columns), -np.inf)
    top, left = blocks["y"] // BLOCK, blocks["x"] // BLOCK
    bottom = np.minimum((blocks["y"] + blocks["h"] - 1) // BLOCK, rows - 1)
    right = np.minimum((blocks["x"] + blocks["w"] - 1) // BLOCK, columns - 1)
    top, left = np.maximum(top, 0), np.maximum(left, 0)
    # Blocks of VP9 have sides of 8 to 64 pixels: each is put down square by square.
    for down in range(int((bottom - top).max(initial=-1)) + 1):
        for across in range(int((right - left).max(initial=-1)) + 1):
            row, column = top + down, left + across
            there = (row <= bottom) & (column <= right)
            np.maximum.at(found, (row[there], column[there]), blocks["delta"][there])
    return np.where(np.isinf(found), 0, found)


def _as_of_h264(kind: int, noted: NDArray[np.float64], bits: int) -> NDArray[np.float64] | None:
    """Quantizers that leave about as much; None of an unknown kind."""
    found: NDArray[np.float64]
    if kind == H264:
        found = noted - 6 * (bits - 8)
        return found.clip(0, COARSEST)
    if kind == VP9:  # its steps grow with the bit depth by themselves
        steps, more = vp9_steps()[noted.clip(0, 255).astype(int)] / _VP9_GAIN, 0
    elif kind == MPEG:
        steps, more = noted, _BARE
    else:
        return None
    found = 6 * np.log2(np.maximum(steps, FINEST) / FINEST) + more
    return found.clip(0, COARSEST)


@lru_cache(maxsize=1)
def vp9_steps() -> NDArray[np.float64]:
    """Steps of all but the mean of a block of VP9, 8 bits deep, for its 256 quantizers.

    They grow by 1.975 %, and by 1 at least; the first stands for no loss.
    """
    steps = [4, 8]
    while len(steps) < 256:
        steps.append(max(steps[-1] + 1, int(1.01975 * steps[-1])))
    return np.array(steps, np.float64)


def stated(codec: str, header: bytes | None, height: int, width: int) -> Tensor | None:
    """What `quantizers` would give of each frame of a stream, as far as its header tells.

    FFmpeg's decoder of H.265 notes none. x265 writes down what it was told; a rate factor gives
    about the same quantizers to all that it encodes.

    Args:
        codec: FFmpeg's name.
        header: FFmpeg's `extradata`.
        height: H in pixels.
        width: W in pixels.

    Returns:
        (ceil(H/16), ceil(W/16)) float32, one value; None where it tells nothing.
    """
    found = _X265.search(header[:_LONGEST]) if codec == "hevc" and header else None
    if found is None:
        return None
    import torch

    quantizer = min(float(found[1]) + _COARSER, COARSEST)
    return torch.full((-(-height // BLOCK), -(-width // BLOCK)), quantizer)
