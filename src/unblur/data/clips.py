"""Data sets on disk: folders of blurred frames beside folders of sharp ones.

| layout | blurred | sharp |
|---|---|---|
| `gopro` | `CLIP/blur/*.png` or `blur/CLIP/*` | `CLIP/sharp/*` or `GT/CLIP/*` |
| `dvd` | `CLIP/input/*.jpg` or `blur/CLIP/*` | `CLIP/GT/*` or `GT/CLIP/*` |
| `bsd` | `CLIP/Blur/RGB/*.png` | `CLIP/Sharp/RGB/*.png` |
| `reds` | `train_blur/CLIP/*.png` | `train_sharp/CLIP/*.png` |
| `sharp` | averages of 7 neighbouring frames of `CLIP/*`, in linear light | the middle one |

Other folders may stand before and between (`train/`, `GOPR0372_07_00/`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from unblur.errors import MediaError, UsageError
from unblur.ops.color import SRGB, from_linear, to_linear
from unblur.synth.textures import IMAGES

PAIRS = {
    "gopro": (("blur", "sharp"), ("blur", "GT"), ("blur_gamma", "sharp")),
    "dvd": (("input", "GT"), ("blur", "GT")),
    "bsd": (("Blur", "Sharp"),),
    "reds": (("train_blur", "train_sharp"), ("val_blur", "val_sharp")),
}
"""Names of folders that stand for each other, anywhere in a path; the first that is there."""
AVERAGED = 7
"""Frames that one blurred frame of the `sharp` layout is the mean of."""


@dataclass(frozen=True)
class ClipFolder:
    """Frames of one clip, blurred and sharp."""

    name: str
    blurred: tuple[Path, ...]
    sharp: tuple[Path, ...]
    averaged: int = 1
    """Sharp frames that a blurred one is made of; 1 where blurred frames are on disk."""

    def __len__(self) -> int:
        return len(self.sharp) // self.averaged

    def read(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """Frames `start` to `stop - 1`, blurred and sharp, `(T, 3, H, W)` each."""
        if self.averaged == 1:
            return read_frames(self.blurred[start:stop]), read_frames(self.sharp[start:stop])
        n = self.averaged
        sharp = read_frames(self.sharp[start * n : stop * n])
        light = to_linear(sharp, SRGB).unflatten(0, (stop - start, n))  # (T, n, 3, H, W)
        return from_linear(light.mean(1), SRGB), sharp[n // 2 :: n]

    @classmethod
    def find(cls, source: str) -> list[ClipFolder]:
        """All clips of `LAYOUT:FOLDER`, in order of their names.

        Raises:
            UsageError: unknown layout.
            MediaError: no such folder, nothing in it that looks so, or frames without a partner.
        """
        layout, _, folder = source.partition(":")
        if layout not in (*PAIRS, "sharp") or not folder:
            raise UsageError(
                f"data '{source}': use scenes or LAYOUT:FOLDER; "
                f"layouts are {', '.join(PAIRS)}, sharp"
            )
        root = Path(folder)
        if not root.is_dir():
            raise MediaError(f"data set not found: {root}: check the path")
        clips = []
        for place in sorted({path.parent for path in root.rglob("*") if is_image(path)}):
            frames = tuple(sorted(path for path in place.iterdir() if is_image(path)))
            name = str(place.relative_to(root))
            if layout == "sharp":
                clips.append(cls(name, frames, frames, averaged=AVERAGED))
                continue
            partner = partner_folder(place, root, PAIRS[layout])
            if partner is not None:
                clips.append(cls(name, frames, partners(frames, partner)))
        if not clips:
            raise MediaError(
                f"{root} does not look like {layout}: see the table in unblur.data.clips"
            )
        return clips


def partner_folder(place: Path, root: Path, pairs: Sequence[tuple[str, str]]) -> Path | None:
    """The folder of the sharp frames for one of blurred frames; None for any other folder."""
    parts = place.relative_to(root).parts
    for blurred, sharp in pairs:
        if blurred in parts:
            partner = root.joinpath(*(sharp if part == blurred else part for part in parts))
            if partner.is_dir():
                return partner
    return None


def partners(frames: Sequence[Path], folder: Path) -> tuple[Path, ...]:
    """The sharp frame of each blurred one, by the name without its extension."""
    by_stem = {path.stem: path for path in folder.iterdir() if is_image(path)}
    missing = [path.name for path in frames if path.stem not in by_stem]
    if missing:
        raise MediaError(f"{folder} has no sharp frame for {missing[0]}: is the data set complete?")
    return tuple(by_stem[path.stem] for path in frames)


def is_image(path: Path) -> bool:
    """True for the file types the data sets come in."""
    return path.suffix.lower() in IMAGES


def read_frames(paths: Sequence[Path]) -> Tensor:  # (T, 3, H, W)
    """Reads images of one size as float RGB in [0, 1]."""
    import cv2

    frames = []
    for path in paths:
        image = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if image is None:
            raise MediaError(f"{path} cannot be read as an image: damaged download?")
        frames.append(torch.from_numpy(image[:, :, ::-1].copy()).permute(2, 0, 1))
    return torch.stack(frames).float() / 255
