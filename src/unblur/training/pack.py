"""Clips carried to a machine without encoders: one small file, with their truth.

A zip of a file for each clip. Of images it holds bytes: green, and by how much red and blue differ
from it, all of them less the change from above and from the left. So they pack into two fifths, and
nothing is lost.
"""

from __future__ import annotations

import lzma
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as from_bytes
from safetensors.torch import save as to_bytes
from torch import Tensor

from unblur.errors import UsageError, WeightsError
from unblur.training.batches import Batch, drawing
from unblur.training.pool import GRID, RADIUS_STEPS, cropped, joined, oriented

CPU = torch.device("cpu")
FLOWS = ("flow_forward", "flow_backward", "guess_forward", "guess_backward")
LARGEST = 200_000_000
"""Bytes of a clip, at most, when it is read."""
ENTRY = 300
"""Bytes that an entry takes beside its data, at most."""
DAMAGED = (
    *(zipfile.BadZipFile, lzma.LZMAError, SafetensorError),
    *(OSError, LookupError, ValueError),
)
"""What reading raises of a file that is no pack."""


def write_pack(
    path: Path, clips: Iterable[Batch], held_out: Sequence[Batch], largest: int
) -> tuple[int, int]:
    """Writes clips, batches of one each, until the file would be larger than `largest` bytes.

    Args:
        path: of the file; one that is there is replaced.
        clips: to learn from, square and of one size.
        held_out: to validate on; all of them are written, first.
        largest: bytes.

    Returns:
        How many clips to learn from it holds, and its size in bytes.

    Raises:
        UsageError: not even one clip to learn from fits.
    """
    part, count = path.with_suffix(".part"), 0
    with zipfile.ZipFile(part, "w") as file:  # of what is compressed already
        for number, clip in enumerate(held_out):
            file.writestr(f"held-out/{number:06}.xz", lzma.compress(packed(clip)))
        for clip in clips:
            data = lzma.compress(packed(clip))
            entries = count + len(held_out) + 2
            file.fp.flush()  # type: ignore[union-attr] # it is open
            if part.stat().st_size + len(data) + ENTRY * entries > largest:
                break
            file.writestr(f"clips/{count:06}.xz", data)
            count += 1
    if not count:
        part.unlink()
        raise UsageError(f"no clip fits into {largest} bytes: allow more, or fewer held-out clips")
    part.replace(path)
    return count, path.stat().st_size


class Pack:
    """Random crops, mirrored, turned and reversed in time, of the clips in a file.

    All of them wait on the device that trains, a byte for each value.

    Args:
        path: as `write_pack` wrote it.
        crop: side of what a batch holds, in pixels, a multiple of 4.
        device: where batches are wanted.

    Raises:
        UsageError: the clips are smaller than the crop.
        WeightsError: the file is damaged, or no pack.
    """

    def __init__(self, path: Path, crop: int, device: torch.device = CPU) -> None:
        self.path, self.crop = path, crop
        try:
            with zipfile.ZipFile(path) as file:
                names = [x for x in sorted(file.namelist()) if small(file.getinfo(x))]
                kept = {name: restored(expanded(file.read(name))).to(device) for name in names}
            self.clips = [x for name, x in kept.items() if name.startswith("clips/")]
            self._held_out = [x for name, x in kept.items() if name.startswith("held-out/")]
            first = self.clips[0]
        except DAMAGED as error:
            raise WeightsError(f"{path} is no pack of clips: make it again ({error})") from error
        self.side = first.blurred.shape[-1]
        if self.side < crop:
            raise UsageError(f"the clips of {path} are of {self.side} pixels: take a smaller crop")
        self.pixels_per_clip = first.blurred.shape[1] * crop * crop

    def batch(self, clips: int, seed: int) -> Batch:
        """Draws clips: which, where, in which of eight orientations, and which way in time."""
        draw = drawing(torch.Generator().manual_seed(seed))
        places = (self.side - self.crop) // GRID + 1
        drawn = []
        for _ in range(clips):
            clip = self.clips[draw(len(self.clips))]
            clip = cropped(clip, draw(places) * GRID, draw(places) * GRID, self.crop)
            drawn.append(oriented(clip, draw(8), bool(draw(2))))
        return as_numbers(joined(drawn))

    def held_out(self, device: torch.device) -> list[Batch]:
        """The clips to validate on."""
        return [as_numbers(clip.to(device)) for clip in self._held_out]


def small(entry: zipfile.ZipInfo) -> bool:
    """Whether an entry is as small as a clip; a bomb is not."""
    return entry.file_size <= LARGEST


def expanded(data: bytes) -> bytes:
    """Compressed bytes as they were; ValueError where they would be far more than a clip has."""
    reader = lzma.LZMADecompressor()
    found = reader.decompress(data, LARGEST)
    if not reader.eof:
        raise ValueError("an entry is cut off, or larger than a clip")
    return found


def packed(clip: Batch) -> bytes:
    """A batch of one clip in bytes; its depth is left out."""
    tensors = {"blurred": levels(clip.blurred), "sharp": levels(clip.sharp)}
    for name in FLOWS:
        flow = getattr(clip, name)
        if flow is not None:
            tensors[name] = flow.half()
    if clip.radius is not None:
        tensors["radius"] = (clip.radius * RADIUS_STEPS).round().clamp(max=255).byte()
    return to_bytes({name: x.cpu().contiguous() for name, x in tensors.items()})


def unpacked(data: bytes) -> Batch:
    """The inverse of `packed`."""
    return as_numbers(restored(data))


def restored(data: bytes) -> Batch:
    """A clip that was packed, as few bytes as it can wait in: images and radii as bytes."""
    found = from_bytes(data)
    flows = {name: found[name] for name in FLOWS if name in found}
    return Batch(
        image(found["blurred"]), image(found["sharp"]), **flows, radius=found.get("radius")
    )


def as_numbers(kept: Batch) -> Batch:
    """Clips of `restored`, as all others are."""
    clip = kept.mapped(lambda x: x.float() / 255, Tensor.float)
    return clip if kept.radius is None else replace(clip, radius=kept.radius.float() / RADIUS_STEPS)


def levels(x: Tensor) -> Tensor:
    """Images (..., 3, H, W) in [0, 1] as bytes that change little from one to the next."""
    codes = (x * 255).round().byte()
    red, green, blue = codes.unbind(-3)
    codes = torch.stack((red - green, green, blue - green), -3)  # bytes wrap around
    for axis in (-1, -2):
        codes = codes.diff(dim=axis, prepend=torch.zeros_like(codes.narrow(axis, 0, 1)))
    return codes


def image(steps: Tensor) -> Tensor:
    """The inverse of `levels`, but in bytes."""
    for axis in (-2, -1):
        steps = steps.cumsum(axis, dtype=torch.uint8)  # bytes wrap around
    red, green, blue = steps.unbind(-3)
    return torch.stack((red + green, green, blue + green), -3)
