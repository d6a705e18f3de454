"""Builds a bank of textures from a folder of photographs, and from none."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from unblur.errors import MediaError, UnblurWarning, UsageError
from unblur.synth.leaves import leaves_bank
from unblur.synth.textures import (
    HELD_OUT_PHOTOS,
    IMAGES,
    SIZE,
    TABLE,
    Source,
    TextureBank,
    detail,
    read_image,
    read_table,
)

LONG_SIDES = (800, 1100, 1600, 2000, 3000)
"""Photographs are shrunk to these: at full size a large one is soft."""
SHRINK = 0.8
"""A photograph is taken at no more than this part of its own size."""
OVERLAP = 0.15
"""Tiles of one size may share this part of their side."""


@dataclass(frozen=True)
class Candidate:
    """A tile that is worth training on."""

    tile: np.ndarray
    """(S, S, 3) uint8 RGB."""
    source: Source
    score: float


def build_texture_bank(
    photos: str | Path | None,
    destination: str | Path,
    *,
    count: int = 200,
    size: int = SIZE,
    leaves: int = 100,
    seed: int = 0,
    held_out: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> TextureBank:
    """Cuts sharp, detailed tiles out of photographs, adds dead leaves, and writes them to a folder.

    Tiles come from all photographs in turn, the best of each first. A `sources.csv` beside the
    photographs (columns name, photo, author, licence, url) says whose they are and on what terms;
    it is carried over to the table of the bank.

    Args:
        photos: folder of photographs; None for leaves alone.
        destination: folder to write; it must not exist or be empty.
        count: tiles from photographs at the most.
        size: side of a tile in pixels.
        leaves: dead-leaves images to add.
        seed: of the leaves.
        held_out: also cut the photographs that serve evaluation (`HELD_OUT_PHOTOS`).
        progress: called with (photographs and leaves done, both in all).

    Returns:
        The bank as it was written, before JPEG compression.

    Raises:
        UsageError: the destination is not empty, or nothing would be in the bank.
        MediaError: no such folder.
    """
    destination = Path(destination)
    if destination.exists() and (not destination.is_dir() or any(destination.iterdir())):
        raise UsageError(f"{destination} exists already: choose a new folder")
    if size < 64 or count < 0 or leaves < 0:
        raise UsageError("take a size of at least 64 and no negative numbers")
    cut = photographs(Path(photos), held_out) if photos is not None and count else {}

    def tell(done: int) -> None:
        if progress:
            progress(done, len(cut) + leaves)

    bank = photo_bank(cut, count, size, tell)
    if leaves:
        drawn = leaves_bank(leaves, size, seed, bank, lambda n: tell(len(cut) + n))
        bank = drawn if bank is None else bank + drawn
    if bank is None:
        raise UsageError("nothing to build: name a folder of photographs or request leaves")
    bank.save(destination)
    return bank


def photographs(folder: Path, held_out: bool) -> dict[Path, Source]:
    """The photographs of a folder, and whose they are."""
    if not folder.is_dir():
        raise MediaError(f"no folder of photographs at {folder}")
    table = read_table(folder / TABLE)
    files = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in IMAGES]
    if not held_out:
        files = [path for path in files if not any(name in path.name for name in HELD_OUT_PHOTOS)]
    unknown = [path.name for path in files if path.name not in table]
    if unknown:
        warnings.warn(
            f"no licence is known for {len(unknown)} of {len(files)} photographs in {folder}: "
            f"list them in {TABLE} before you share what is trained on them",
            UnblurWarning,
            stacklevel=3,
        )
    return {path: table.get(path.name, Source(path.name, path.stem)) for path in files}


def photo_bank(
    photos: dict[Path, Source], count: int, size: int, tell: Callable[[int], None]
) -> TextureBank | None:
    """The best tiles of photographs; None where no photograph has a good one."""
    queues = []
    for done, (path, source) in enumerate(photos.items(), 1):
        # No photograph can give more than all there is room for.
        queues.append(best(candidates(path, source, size), count))
        tell(done)
    chosen = [c for turn in zip_longest(queues) for c in turn][:count]
    if not chosen:
        return None
    tiles = torch.from_numpy(np.stack([c.tile for c in chosen])).permute(0, 3, 1, 2)
    return TextureBank(tiles.contiguous(), tuple(c.source for c in chosen))


def candidates(path: Path, source: Source, size: int) -> Iterator[Candidate]:
    """The good tiles of a photograph, at several scales."""
    import cv2

    photo = read_image(path)
    height, width = photo.shape[:2]
    for long_side in LONG_SIDES:
        factor = long_side / max(height, width)
        if factor > SHRINK or min(height, width) * factor < size:
            continue
        shape = (round(width * factor), round(height * factor))
        small = cv2.resize(photo, shape, interpolation=cv2.INTER_AREA)
        for top in starts(shape[1], size):
            for left in starts(shape[0], size):
                tile = small[top : top + size, left : left + size]
                found = detail(tile)
                if found.good:
                    name = f"{path.stem}_{long_side}_{top}_{left}.jpg"
                    photo_name = source.photo or path.stem
                    named = replace(source, name=name, photo=photo_name)
                    yield Candidate(tile, named, found.gradient * found.coverage)


def best(found: Iterator[Candidate], count: int) -> list[Candidate]:
    """The best first."""
    return sorted(found, key=lambda c: -c.score)[:count]


def starts(length: int, size: int) -> list[int]:
    """Where tiles begin along an axis: evenly, with some overlap."""
    many = 1 + int((length - size) // (size * (1 - OVERLAP)))
    return [round(i * (length - size) / max(1, many - 1)) for i in range(many)]


def zip_longest(queues: list[list[Candidate]]) -> Iterator[list[Candidate]]:
    """Takes one of each queue in turn until all are empty."""
    for i in range(max((len(q) for q in queues), default=0)):
        yield [q[i] for q in queues if i < len(q)]
