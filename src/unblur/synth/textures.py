"""What the layers of a scene are made of: a bank of square images, sharp and full of detail.

Most of a photograph is sky, skin or bokeh and teaches a deblurring network nothing: its blurred
and its sharp crop are the same. So tiles are chosen by what blur would take from them.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from unblur.errors import MediaError, UsageError

SIZE = 448
"""Side of a tile in pixels, unless said otherwise."""

MIN_GRADIENT = 6.0
MIN_LOSS = 0.42
MIN_COVERAGE = 0.5
CELLS = 8
CELL_GRADIENT = 4.0
STRONG_SHARE = 0.05

HELD_OUT_PHOTOS = (
    "Grass_by_linolafett",
    "Gravel04_by_ambientCG",
    "Picture_1A_by_freespace",
    "friends_by_Aitzol_Berasategi",
    "life_by_Aitzol_Berasategi",
    "seeding_by_Clements_Engelhardt",
)
"""Photographs that serve evaluation and the demo clip: nothing is ever trained on their tiles."""

IMAGES = (".jpg", ".jpeg", ".png")
TABLE = "sources.csv"


@dataclass(frozen=True)
class Source:
    """Where a tile comes from, and on what terms."""

    name: str
    """File name of the tile."""
    photo: str = ""
    """Name of the photograph it was cut from, or of the procedure that drew it."""
    author: str = ""
    licence: str = ""
    url: str = ""


@dataclass(frozen=True)
class TextureBank:
    """Square images of one size, and their sources."""

    images: Tensor
    """(N, 3, S, S) uint8, RGB, sRGB encoded."""
    sources: tuple[Source, ...]

    def __post_init__(self) -> None:
        p = self.images
        if p.dtype != torch.uint8 or p.ndim != 4 or p.shape[1] != 3 or p.shape[2] != p.shape[3]:
            raise UsageError(f"textures must be (N, 3, S, S) uint8, not {p.dtype} {tuple(p.shape)}")
        if len(p) == 0 or len(p) != len(self.sources):
            raise UsageError(
                f"{len(p)} textures need as many sources, at least one; got {len(self.sources)}"
            )

    def __len__(self) -> int:
        return len(self.sources)

    @property
    def size(self) -> int:
        """Side of each image in pixels."""
        return self.images.shape[-1]

    def to(self, device: torch.device | str) -> TextureBank:
        """The same bank with its images on `device`."""
        return TextureBank(self.images.to(device), self.sources)

    def __add__(self, other: TextureBank) -> TextureBank:
        return TextureBank(
            torch.cat((self.images, other.images.to(self.images.device))),
            self.sources + other.sources,
        )

    def save(self, folder: str | Path, quality: int = 92) -> None:
        """Writes the images as JPEG under the names of their sources, and `sources.csv`."""
        import cv2

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        for image, source in zip(self.images.cpu(), self.sources, strict=True):
            bgr = image.permute(1, 2, 0).numpy()[:, :, ::-1]
            done, data = cv2.imencode(
                Path(source.name).suffix, bgr, [cv2.IMWRITE_JPEG_QUALITY, quality]
            )
            if not done:
                raise UsageError(f"{source.name}: not an image format; end names in .jpg or .png")
            write(folder / source.name, data.tobytes())
        rows = [",".join(quoted(getattr(s, f.name)) for f in fields(Source)) for s in self.sources]
        text = "\n".join([",".join(f.name for f in fields(Source)), *rows]) + "\n"
        write(folder / TABLE, text.encode())

    @classmethod
    def load(
        cls,
        folder: str | Path,
        *,
        skip: Iterable[str] = (),
        training: bool = True,
        size: int | None = None,
    ) -> TextureBank:
        """Reads a folder of square images.

        Args:
            folder: images, and a `sources.csv` where there is one.
            skip: leaves out images whose name or photograph has one of these in it.
            training: leave out what is held out for evaluation as well (`HELD_OUT_PHOTOS`).
            size: side the images are shrunk to; by default that of the smallest. Never enlarged.

        Raises:
            MediaError: no such folder, or an image that cannot be read.
            UsageError: no image is left.
        """
        folder = Path(folder)
        if not folder.is_dir():
            raise MediaError(f"no folder of textures at {folder}: `unblur data textures` makes one")
        table = read_table(folder / TABLE)
        unwanted = [*skip, *(HELD_OUT_PHOTOS if training else ())]
        sources = [
            table.get(path.name, Source(path.name, photo=path.stem))
            for path in sorted(folder.iterdir())
            if path.suffix.lower() in IMAGES
        ]
        kept = [s for s in sources if not any(w in s.name or w in s.photo for w in unwanted)]
        if not kept:
            raise UsageError(f"{folder} has no texture left: {len(sources)} found, all left out")
        images = [read_image(folder / source.name) for source in kept]
        side = min(min(p.shape[:2]) for p in images) if size is None else size
        square = np.stack([middle_square(p, side) for p in images])  # (N, S, S, 3)
        return cls(torch.from_numpy(square).permute(0, 3, 1, 2).contiguous(), tuple(kept))


def held_out() -> TextureBank:
    """The tiles that ship with the package, for evaluation only: photographs and dead leaves.

    Sources and licences: `sources.csv` and `SOURCES.md` beside them.
    """
    return TextureBank.load(Path(__file__).parent / "heldout", training=False)


@dataclass(frozen=True)
class Detail:
    """What blur would take from an image."""

    gradient: float
    """Mean gradient of the luma, of 255 a pixel."""
    loss: float
    """Share of the energy of the strongest edges that a Gaussian of sigma 1 removes."""
    coverage: float
    """Share of the cells of an 8 x 8 grid that have some gradient."""

    @property
    def good(self) -> bool:
        """Worth training on."""
        return (
            self.gradient > MIN_GRADIENT and self.loss > MIN_LOSS and self.coverage > MIN_COVERAGE
        )


def detail(image: np.ndarray) -> Detail:
    """Measures an image, (H, W, 3) uint8 RGB."""
    luma = image.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    strength = gradient(luma)
    soft = gradient(smooth(luma, 1.0))
    strong = strength >= np.quantile(strength, 1 - STRONG_SHARE)
    energy = float(np.square(strength[strong]).sum())
    loss = 1 - float(np.square(soft[strong]).sum()) / energy if energy > 0 else 0.0
    h, w = (n // CELLS * CELLS for n in strength.shape)
    cells = strength[:h, :w].reshape(CELLS, h // CELLS, CELLS, w // CELLS).mean((1, 3))
    return Detail(float(strength.mean()), loss, float((cells > CELL_GRADIENT).mean()))


def gradient(luma: np.ndarray) -> np.ndarray:
    """Length of the forward differences, (H - 1, W - 1)."""
    dx = luma[:-1, 1:] - luma[:-1, :-1]
    dy = luma[1:, :-1] - luma[:-1, :-1]
    return np.sqrt(dx * dx + dy * dy)


def smooth(x: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur of (H, W) with mirrored edges."""
    reach = max(1, round(3 * sigma))
    taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    taps = (taps / taps.sum()).astype(np.float32)
    for _ in range(2):  # each turn does one axis and swaps the two
        padded = np.pad(x, ((reach, reach), (0, 0)), mode="reflect")
        x = sum(t * padded[i : i + len(x)] for i, t in enumerate(taps)).T
    return x


def read_image(path: Path) -> np.ndarray:
    """(H, W, 3) uint8 RGB.

    Raises:
        MediaError: not an image that can be read.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise MediaError(f"{path} cannot be read: {error.strerror}") from error
    image = decoded(data) if data else None
    if image is None:
        raise MediaError(f"{path} is no image that can be read: take it out or save it as PNG")
    return image


def decoded(data: bytes) -> np.ndarray | None:
    """(H, W, 3) uint8 RGB of a file; None where it is no image.

    By OpenCV or, on machines without it, as those with a GPU may be, by Pillow.
    """
    try:
        import cv2
    except ImportError:
        from PIL import Image

        try:
            with Image.open(io.BytesIO(data)) as image:
                return np.array(image.convert("RGB"))
        except (OSError, ValueError, Image.DecompressionBombError):
            return None
    bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    return None if bgr is None else np.ascontiguousarray(bgr[:, :, ::-1])


def middle_square(image: np.ndarray, side: int) -> np.ndarray:
    """Middle square of an image, shrunk to `side`: (side, side, 3)."""
    height, width = image.shape[:2]
    square = min(height, width)
    if square < side:
        raise UsageError(f"a texture of {width}x{height} is smaller than the {side} requested")
    top, left = (height - square) // 2, (width - square) // 2
    image = image[top : top + square, left : left + square]
    if square == side:
        return image
    try:
        import cv2
    except ImportError:
        from PIL import Image

        return np.array(Image.fromarray(image).resize((side, side), Image.Resampling.BOX))
    return cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)


def read_table(path: Path) -> dict[str, Source]:
    """Sources by file name; empty where there is no table."""
    if not path.is_file():
        return {}
    names = [f.name for f in fields(Source)]
    with path.open(encoding="utf-8", newline="") as file:
        rows: Sequence[dict[str, str]] = list(csv.DictReader(file))
    if rows and not set(names) <= set(rows[0]):
        raise MediaError(f"{path} must have the columns {', '.join(names)}")
    return {row["name"]: Source(**{name: row[name] or "" for name in names}) for row in rows}


def quoted(text: str) -> str:
    """A field of a CSV file."""
    return '"' + text.replace('"', '""') + '"' if any(c in text for c in ',"\n') else text


def write(path: Path, data: bytes) -> None:
    """Writes a file that appears under its name only when whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    with part.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)
