"""Stills of AVIF and HEIF put together: tiles side by side, opacity beside colours.

FFmpeg gives each coded image a stream of its own; `heif` tells what they are to each other.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream
from numpy.typing import NDArray

from unblur.errors import MediaError
from unblur.video.heif import Part, Sheet, Still
from unblur.video.pixels.layout import layout_of
from unblur.video.pixels.planes import channels_of, tags_of


@dataclass(frozen=True)
class Pieces:
    """Of which streams a still is put together."""

    still: Still
    colors: tuple[int, ...]
    """Indices of streams, row by row."""
    opacity: tuple[int, ...]
    """The same of its opacity; empty: it has none, or one that does not fit."""
    pixel_format: str
    """Of the whole."""
    width: int
    height: int

    @property
    def streams(self) -> frozenset[int]:
        """Indices of all streams that are used."""
        return frozenset((*self.colors, *self.opacity))


def pieces_of(
    container: InputContainer, video: VideoStream, parts: Mapping[int, Part]
) -> Pieces | None:
    """What the still that a stream belongs to is put together of; None where that stream is all."""
    still = parts[video.index].still if video.index in parts else None
    if still is None:
        return None
    indices = {part.number: index for index, part in parts.items() if part.image}

    def found(sheet: Sheet) -> tuple[int, ...]:
        known = [indices.get(number) for number in sheet.tiles]
        return tuple(index for index in known if index is not None)

    context = video.codec_context
    name = context.pix_fmt or ""
    width, height = still.colors.width or context.width, still.colors.height or context.height
    opacity: tuple[int, ...] = ()
    if still.opacity is not None:
        opacity = found(still.opacity)
        size = still.opacity.width, still.opacity.height
        if opacity and not all(size):
            own = cast(VideoStream, container.streams[opacity[0]]).codec_context
            size = own.width, own.height
        both = with_alpha(name)
        if both is None or size != (width, height) or len(opacity) < len(still.opacity.tiles):
            opacity = ()
        else:
            name = both
    if len(still.colors.tiles) == 1 and not opacity:
        return None
    return Pieces(still, found(still.colors), opacity, name, width, height)


def with_alpha(name: str) -> str | None:
    """The pixel format that holds the same samples and opacity; None: there is none."""
    own = re.sub("^yuvj?(?=4)", "yuva", name).replace("gbrp", "gbrap").replace("gray", "ya8")
    if own == name:
        return None
    try:
        av.VideoFormat(own)
    except ValueError:
        return None
    return own


def put_together(path: Path, container: InputContainer, pieces: Pieces) -> av.VideoFrame:
    """The whole still, from a container that nothing was read of.

    Raises:
        MediaError: a tile does not decode, or the tiles do not make up the image.
    """
    whole = av.VideoFrame(pieces.width, pieces.height, pieces.pixel_format)
    targets = channels_of(whole)
    bits = layout_of(pieces.pixel_format).bits
    colors, opacity = pieces.still.colors, pieces.still.opacity
    missing = set(pieces.streams)
    kinds: dict[bool, tuple[int, int, str]] = {}
    for index, tile in _decoded(container, pieces.streams):
        missing.remove(index)
        for sheet, indices, shows in (
            (colors, pieces.colors, True),
            (opacity, pieces.opacity, False),
        ):
            if sheet is None or index not in indices:
                continue
            kind = tile.width, tile.height, tile.format.name
            if kinds.setdefault(shows, kind) != kind:
                raise _unfitting(path)
            if shows:
                channels = channels_of(tile)
                if (with_alpha(kind[2]) if pieces.opacity else kind[2]) != pieces.pixel_format:
                    raise _unfitting(path)
                for tag, value in tags_of(tile).items():
                    setattr(whole, tag, value)
                if layout_of(kind[2]).full_range:
                    whole.color_range = 2
            else:
                channels = [_alpha(tile, bits).astype(targets[-1].dtype)]
            belong = targets[: len(channels)] if shows else targets[-1:]
            for place in (n for n, each in enumerate(indices) if each == index):
                for source, target in zip(channels, belong, strict=True):
                    if not _placed(source, target, sheet, place):
                        raise _unfitting(path)
    if missing & set(pieces.colors):
        raise MediaError(
            f"{path}: {len(missing & set(pieces.colors))} of the {len(pieces.colors)} tiles of its"
            " image do not decode: copy the file again"
        )
    if missing:
        raise MediaError(
            f"{path}: the opacity of its image does not decode: copy the file again, or take the"
            f" image alone with --stream {pieces.colors[0]}"
        )
    return whole


def _unfitting(path: Path) -> MediaError:
    return MediaError(f"{path}: the tiles of its image do not fit together: convert it first")


def _placed(source: NDArray[Any], target: NDArray[Any], sheet: Sheet, place: int) -> bool:
    """Puts a channel of a tile where it belongs; False where it leaves a gap or does not fit."""
    row, column = divmod(place, sheet.columns)
    last = row == len(sheet.tiles) // sheet.columns - 1, column == sheet.columns - 1
    size = source.shape
    start = row * size[0], column * size[1]
    for at, own, all_, ends in zip(start, size, target.shape, last, strict=True):
        if not (at < all_ <= at + own if ends else at + own <= all_):
            return False
    area = target[start[0] : start[0] + size[0], start[1] : start[1] + size[1]]
    area[...] = source[: area.shape[0], : area.shape[1]]
    return True


def _alpha(image: av.VideoFrame, bits: int) -> NDArray[Any]:
    """The opacity that an image of its own holds, `(H, W)`, of the full range of `bits`."""
    layout = layout_of(image.format.name)
    codes = channels_of(image)[0].astype(np.float64)
    if image.color_range == 1 and not layout.full_range:
        codes = (codes / 2 ** (layout.bits - 8) - 16) / 219
    else:
        codes = codes / (2**layout.bits - 1)
    return np.rint(np.clip(codes, 0, 1) * (2**bits - 1))


def _decoded(
    container: InputContainer, wanted: Collection[int]
) -> Iterator[tuple[int, av.VideoFrame]]:
    """The image of each stream, those that do not decode left out."""
    found = set[int]()
    packets = iter(container.demux([container.streams[index] for index in wanted]))
    while True:
        images = []
        index = -1
        with suppress(av.FFmpegError, ValueError, OSError):
            packet = next(packets, None)
            if packet is None:
                return
            index = packet.stream.index  # an empty packet, that flushes, has no number of its own
            images = packet.decode()
        for image in images:
            if index not in found and isinstance(image, av.VideoFrame):
                found.add(index)
                yield index, image
