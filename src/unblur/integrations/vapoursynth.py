"""A filter for VapourSynth scripts: `from unblur.integrations.vapoursynth import restore`.

Frames may be wanted in any order, as editors do, and each is always the same: they are restored in
blocks of 16, each by itself, with the frames around it. VapourSynth knows beforehand which frames
a block needs, so that nothing waits inside of a filter, and it keeps and forgets finished blocks.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import vapoursynth as vs
from torch import Tensor

import unblur
from unblur.errors import UsageError
from unblur.video.info import TRANSFERS

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from unblur.commands.request import ArrayOptions

KEPT = 4
"""Blocks whose filters are remembered."""


def restore(clip: vs.VideoNode, **options: Unpack[ArrayOptions]) -> vs.VideoNode:
    """Makes a blurred clip sharp.

    Args:
        clip: RGBS of constant size; its numbers are those of files, black 0 and white 1.
        **options: those of `unblur.restore` that are not for files. `transfer` is what the first
            frame says (`_Transfer`) unless it is given.

    Returns:
        A clip of the same length and format, `scale` times as large, with all frame properties.

    Raises:
        UsageError: the clip is of another format, or an option is wrong.
    """
    if clip.format is None or clip.format.id != vs.RGBS or not clip.width:
        name = "of changing format or size" if clip.format is None else clip.format.name
        raise UsageError(
            f"the clip is {name}: make it RGBS, as by clip.resize.Bicubic(format=vs.RGBS, "
            'matrix_in_s="709")'
        )
    if "transfer" not in options:
        with clip.get_frame(0) as first:
            options["transfer"] = TRANSFERS.get(int(first.props.get("_Transfer", 2)))
    fetched = Fetched(clip.num_frames)
    lazy = unblur.lazy(fetched, **options)
    scale = lazy.scale
    out = clip.std.BlankClip(width=scale * clip.width, height=scale * clip.height, keep=True)
    blocks: OrderedDict[int, vs.VideoNode] = OrderedDict()
    lock = threading.Lock()

    def frame_of(n: int) -> vs.VideoNode:
        start = lazy.block(n).start
        with lock:
            if start not in blocks:
                blocks[start] = block(clip, out, lazy, fetched, n)
            blocks.move_to_end(start)
            while len(blocks) > KEPT:
                blocks.popitem(last=False)
            return blocks[start]

    return out.std.FrameEval(frame_of, clip_src=[clip]).std.CopyFrameProps(clip)


class Fetched:
    """The frames of a clip that VapourSynth has made; one block at a time is restored of them."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.frames: dict[int, Tensor] = {}
        self.lock = threading.Lock()

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Tensor:
        return self.frames[index]


def block(
    clip: vs.VideoNode, out: vs.VideoNode, lazy: unblur.Lazy[Tensor], fetched: Fetched, n: int
) -> vs.VideoNode:
    """A clip of which the frames of a block are right: they come out of one tall frame."""
    own, needed = lazy.block(n), lazy.reads(n)
    tall = out.std.BlankClip(height=out.height * len(own), length=1, keep=True)

    def compute(n: int, f: list[Any]) -> Any:
        with fetched.lock:
            fetched.frames = {i: pixels(frame) for i, frame in zip(needed, f[1:], strict=True)}
            restored = torch.cat([lazy[i] for i in own], 1)  # (3, block * H, W)
            fetched.frames = {}
        return painted(f[0], restored.numpy())

    sources = [clip.std.Trim(i, i) for i in needed]
    done = tall.std.ModifyFrame([tall, *sources], compute)
    done.std.SetVideoCache(1, 1, 1)  # kept, or each of its frames would restore all of them

    def read(n: int, f: list[Any]) -> Any:
        top = (n - own.start) * out.height
        rows = slice(top, top + out.height)
        return painted(f[0], np.stack([np.asarray(f[1][plane])[rows] for plane in range(3)]))

    return out.std.ModifyFrame([out, done.std.Loop(out.num_frames)], read)


def pixels(frame: Any) -> Tensor:
    """A frame's samples (3, H, W)."""
    return torch.from_numpy(np.stack([np.asarray(frame[plane]) for plane in range(3)]))


def painted(frame: Any, values: Any) -> Any:
    """A copy of a frame with other samples (3, H, W)."""
    copy = frame.copy()
    for plane in range(3):
        np.asarray(copy[plane])[...] = values[plane]
    return copy
