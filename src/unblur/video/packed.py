"""Frames as plain samples, to be sent elsewhere and made frames of again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
from numpy.typing import NDArray

from unblur.video.frame import Frame
from unblur.video.info import Siting
from unblur.video.pixels.planes import channels_of, empty_image, readable, tags_of
from unblur.video.side_data import copy_of


@dataclass(frozen=True)
class Packed:
    """An image of plain samples, which holds no memory of FFmpeg's."""

    format: str
    width: int
    height: int
    tags: Mapping[str, int]
    channels: Sequence[NDArray[Any]]
    siting: Siting

    def frame(self) -> Frame:
        """A frame of the same RGB and alpha, whose time is not known."""
        image = self._filled(empty_image(self.format, self.width, self.height, self.tags))
        return Frame(image, 0, 0, Fraction(1), 0, self.siting)

    def in_place_of(self, source: Frame) -> Frame:
        """`source` with this image, which was made of it."""
        image = blank_for(source, self.format, self.width, self.height, self.tags)
        return source.with_image(self._filled(image))

    def _filled(self, image: av.VideoFrame) -> av.VideoFrame:
        for channel, samples in zip(channels_of(image), self.channels, strict=True):
            channel[...] = samples
        return image


def packed(frame: Frame) -> Packed:
    """The samples of a frame."""
    source = readable(frame.image)
    return Packed(
        format=source.format.name,
        width=source.width,
        height=source.height,
        tags={name: int(value) for name, value in tags_of(source).items()},
        channels=[channel.copy() for channel in channels_of(source)],
        siting=frame.siting,
    )


def blank_for(
    source: Frame, pixel_format: str, width: int, height: int, tags: Mapping[str, int]
) -> av.VideoFrame:
    """Room for the samples of an image that was made of `source`, with its closed captions."""
    same = (source.image.format.name, source.width, source.height)
    if "closed captions" in source.beside and same == (pixel_format, width, height):
        return copy_of(source.image)
    return empty_image(pixel_format, width, height, tags)
