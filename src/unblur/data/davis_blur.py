"""DAVIS-Blur, the two test sets of DaBiT, from DAVIS and a depth map of each of its frames.

| set | sequences | blur |
|---|---|---|
| `release-90` | DAVIS-2017 | as the released code makes it: `davis_blur.csv` holds a row for each |
| `paper-50` | DAVIS-2016 | as the paper writes: one setting, focus from near to far |

The paper does not name its 50 sequences; DAVIS-2016 has 50. Figures on one set say nothing about
the other. Colours are right way round in every file, also in `gt`, where the released script swaps
red and blue.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unblur.disk import Staged, entries, recover
from unblur.errors import MediaError, UsageError
from unblur.ops.wavelet import blur_of_depths
from unblur.optics.focal import TOP, LayeredBlur, focus_path, layered_blur
from unblur.synth.textures import IMAGES

GT_SIZE, SIZE = (864, 480), (432, 240)
"""Width and height of the truth, and of the blurred frames."""
TABLE = "davis_blur.csv"
FRAMES = ("JPEGImages/480p", "JPEGImages/Full-Resolution", "DAVIS/JPEGImages/480p", ".")
"""Where the folders of the sequences may lie."""
DEPTHS = ("{}.png", "{}_depth.png", "{}.tif", "{}.tiff")
PAPER_BLUR = LayeredBlur(max_kernel=11, focus_range=100, sigma=5, min_kernel=1, mode="paper")


@dataclass(frozen=True)
class BlurRecipe:
    """How a sequence is blurred."""

    name: str
    blur: LayeredBlur
    focus: float
    """Depth in focus of the first frame: 0 to 255."""
    rate: float | None
    """Depth that the focus moves by with each frame; None: once through all depths."""


@dataclass(frozen=True)
class Sequence:
    """The files of a sequence."""

    frames: tuple[Path, ...]
    depths: tuple[Path, ...]


def recipes(which: str) -> list[BlurRecipe]:
    """The sequences of `release-90` or `paper-50`."""
    with Path(__file__).with_name(TABLE).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    if which == "paper-50":
        names = [row["video_name"] for row in rows if row["davis_2016"] == "1"]
        return [BlurRecipe(name, PAPER_BLUR, 0.0, None) for name in names]
    return [
        BlurRecipe(
            row["video_name"],
            LayeredBlur(float(row["max_blur"]), float(row["window_size"]), float(row["sigma"])),
            float(row["focal_point"]),
            float(row["dfdt"]),
        )
        for row in rows
    ]


def build_davis_blur(
    davis: str | os.PathLike[str],
    destination: str | os.PathLike[str],
    *,
    depth: str | os.PathLike[str],
    invert: bool = False,
    sets: Collection[str] = ("release-90", "paper-50"),
    only: Collection[str] = (),
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Writes the test sets; the same input gives the same files.

    `OUT/SET/SEQUENCE` holds `gt` (864 x 480), `frames` (432 x 240), `masks` (their blur maps, 255 =
    most blurred) and `depths` (16 bit, 0 = near); `OUT/SET/set.json` says how each was blurred.
    Masks of `release-90` are estimated from the blurred frames, as the released script does; those
    of `paper-50` are recorded from the simulation.

    Args:
        davis: DAVIS as it is unpacked, or a folder of its sequences.
        destination: a folder to make; it must not exist or be empty.
        depth: a folder with a folder for each sequence, with an 8- or 16-bit gray PNG or TIFF for
            each frame, `00000.png` or `00000_depth.png`, of the frame's size; dark = near.
        invert: bright = near, as the released code's script for depth writes them.
        sets: which to build.
        only: names of sequences, where not all are wanted.
        progress: called with (frames done, frames in all) after each sequence.

    Returns:
        The folder.

    Raises:
        UsageError: the folder exists, or a name is not known.
        MediaError: a sequence or a depth map is missing, or does not fit.
    """
    target = Path(destination)
    recover(target)
    if target.exists() and (not target.is_dir() or entries(target)):
        raise UsageError(f"{target} exists already: choose a new folder")
    if unknown := set(sets) - {"release-90", "paper-50"}:
        raise UsageError(f"no set called {min(unknown)}: there are release-90 and paper-50")
    wanted = {name: chosen(recipes(name), only) for name in sorted(sets)}
    names = {recipe.name for found in wanted.values() for recipe in found}
    if lacking := set(only) - names:
        raise UsageError(f"{min(lacking)} is in none of {', '.join(wanted)}: check --only")
    files = find_sequences(Path(davis), Path(depth), sorted(names))
    staged = Staged(target)
    part = staged.path
    total = sum(len(files[recipe.name].frames) for found in wanted.values() for recipe in found)
    done = 0
    try:
        for name, found in wanted.items():
            for recipe in found:
                write_sequence(part / name / recipe.name, recipe, files[recipe.name], invert)
                done += len(files[recipe.name].frames)
                if progress:
                    progress(done, total)
            about = {recipe.name: asdict(recipe) for recipe in found}
            text = json.dumps({"set": name, "sequences": about}, indent=2)
            (part / name / "set.json").write_text(text + "\n", encoding="utf-8")
        staged.put(overwrite=False)
    finally:
        staged.discard()
    return target


def chosen(found: list[BlurRecipe], only: Collection[str]) -> list[BlurRecipe]:
    """Those of a set that are wanted."""
    return [recipe for recipe in found if not only or recipe.name in only]


def find_sequences(davis: Path, depth: Path, names: list[str]) -> dict[str, Sequence]:
    """Frames and depth maps of all sequences, before anything is written."""
    for folder, what in ((davis, "DAVIS"), (depth, "depth maps")):
        if not folder.is_dir():
            raise MediaError(f"no folder with {what} at {folder}: check the path")
    roots = [davis / place for place in FRAMES if (davis / place).is_dir()]
    root = next((r for r in roots if any((r / name).is_dir() for name in names)), None)
    if root is None:
        raise MediaError(f"{davis} holds no sequence of DAVIS: expected {FRAMES[0]}/{names[0]}")
    for folder, what in ((root, "frames"), (depth, "depth maps")):
        missing = [name for name in names if not (folder / name).is_dir()]
        if missing:
            raise MediaError(
                f"{folder} has no {what} of {len(missing)} of {len(names)} sequences"
                f" ({', '.join(missing[:3])}{', ...' if len(missing) > 3 else ''}): add them, or"
                " build the others with --only"
            )
    return {name: find_sequence(root / name, depth / name) for name in names}


def find_sequence(folder: Path, depth: Path) -> Sequence:
    """Frames of a sequence, and the depth map of each."""
    frames = tuple(sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGES))
    if not frames:
        raise MediaError(f"{folder} holds no frames: is DAVIS complete?")
    depths = []
    for frame in frames:
        names = [form.format(frame.stem) for form in DEPTHS]
        found = next((depth / name for name in names if (depth / name).is_file()), None)
        if found is None:
            raise MediaError(
                f"{depth} has no depth map for {frame.name}: {len(frames)} are needed, called"
                f" {names[0]} or {names[1]}"
            )
        depths.append(found)
    return Sequence(frames, tuple(depths))


def write_sequence(folder: Path, recipe: BlurRecipe, files: Sequence, invert: bool) -> None:
    """Blurs a sequence and writes it."""
    for name in ("gt", "frames", "masks", "depths"):
        (folder / name).mkdir(parents=True)
    far = [read_depth(*pair, invert) for pair in zip(files.frames, files.depths, strict=True)]
    deepest = max(float(depth.max()) for depth in far)
    if deepest == min(float(depth.min()) for depth in far):
        raise MediaError(
            f"the depth maps in {files.depths[0].parent} hold one value only: make them again"
        )
    paper = recipe.blur.mode == "paper"
    rate = deepest / len(far) if recipe.rate is None else recipe.rate
    path = focus_path(recipe.focus, rate, len(far))
    for frame, depth, focus in zip(files.frames, far, path, strict=True):
        make = paper_frame if paper else release_frame
        gt, blurred, blur = make(read_rgb(frame), depth, focus, recipe.blur)
        near_to_far = resized(depth, SIZE) * (65535 / TOP)
        stem = frame.stem
        write(folder / "gt" / f"{stem}.png", gt)
        write(folder / "frames" / f"{stem}.png", blurred)
        write(folder / "masks" / f"{stem}_mask.png", blur * TOP)
        write(folder / "depths" / f"{stem}_depth.png", near_to_far, np.uint16)


Array = NDArray[Any]


def release_frame(
    frame: Array, depth: Array, focus: float, blur: LayeredBlur
) -> tuple[Array, Array, Array]:
    """Truth, blurred frame and blur map (H, W, 3 or none): blurred at low resolution."""
    bright_is_near = to_tensor(TOP - resized(depth, SIZE))
    low, _ = layered_blur(to_tensor(resized(frame, SIZE)), bright_is_near, focus, blur)
    blur_map = blur_of_depths(low[None] / TOP, bright_is_near[None] / TOP)[0]
    return resized(frame, GT_SIZE), to_array(low), to_array(blur_map)


def paper_frame(
    frame: Array, depth: Array, focus: float, blur: LayeredBlur
) -> tuple[Array, Array, Array]:
    """The same with the frame blurred before it is shrunk, and the blur map recorded."""
    gt = resized(frame, GT_SIZE)
    full, sides = layered_blur(to_tensor(gt), to_tensor(resized(depth, GT_SIZE)), focus, blur)
    amount = (sides - 1) / (blur.max_kernel - 1)
    return gt, resized(to_array(full), SIZE), resized(to_array(amount), SIZE)


def read_rgb(path: Path) -> Array:
    """An image (H, W, 3), uint8."""
    import cv2

    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise MediaError(f"{path} cannot be read as an image: damaged download?")
    return np.asarray(image[:, :, ::-1])


def read_depth(frame: Path, path: Path, invert: bool) -> Array:
    """Depth (H, W) float32 from 0 = near to 255 = far, of the size of its frame."""
    import cv2

    stored = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if stored is None:
        raise MediaError(f"{path} cannot be read as an image: make it again")
    if stored.ndim != 2 or stored.dtype not in (np.uint8, np.uint16):
        raise MediaError(f"{path} is no depth map: it must be a gray image of 8 or 16 bits")
    size = read_rgb(frame).shape[:2]
    if stored.shape != size:
        raise MediaError(
            f"{path} is {stored.shape[1]}x{stored.shape[0]} and its frame {size[1]}x{size[0]}:"
            " make depth maps of the size of the frames"
        )
    top = 255 if stored.dtype == np.uint8 else 65535
    depth = np.asarray(stored, np.float32) * np.float32(TOP / top)
    return np.asarray(np.float32(TOP) - depth if invert else depth)


def resized(image: Array, size: tuple[int, int]) -> Array:
    """Bilinear, without smoothing, as the released script does."""
    import cv2

    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_LINEAR))


def to_tensor(image: Array) -> Tensor:
    """(H, W, 3) or (H, W) to (3 or 1, H, W) float32."""
    array = image if image.ndim == 3 else image[..., None]
    return torch.from_numpy(np.ascontiguousarray(array)).permute(2, 0, 1).float()


def to_array(image: Tensor) -> Array:
    """(3 or 1, H, W) to (H, W, 3) or (H, W)."""
    return np.ascontiguousarray(image.permute(1, 2, 0).numpy().squeeze())


def write(path: Path, values: Array, kind: type[np.unsignedinteger[Any]] = np.uint8) -> None:
    """Writes RGB or gray values, rounded."""
    import cv2

    stored = np.rint(values).clip(0, np.iinfo(kind).max).astype(kind)
    if not cv2.imwrite(str(path), stored[:, :, ::-1] if stored.ndim == 3 else stored):
        raise UsageError(f"{path.parent} cannot be written to: free some space there")
