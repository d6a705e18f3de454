"""A project as a folder.

```
PROJECT/
  atlas.json             sizes, times, lens, and a checksum of every file
  atlas_foreground.png   the layers' atlases: RGBA, straight alpha = where it was ever seen
  atlas_background.png
  frames/00000.png       the clip
  maps/foreground/uv/00000.png      and alpha/, coc/: see `maps`
```

Anything else in it belongs to others (the fit keeps its checkpoints in `fit/`) and stays.
`atlas.json` is written last and taken away first: a folder with it is complete. A run that is
killed while it puts its files there is taken up by the next one that opens the folder.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from unblur.atlas.project.clip import Layer, LayeredClip
from unblur.atlas.project.maps import (
    CHANNELS,
    Array,
    Cache,
    Kind,
    Maps,
    checksum,
    damaged,
    encode,
    image_name,
    png,
    read_png,
)
from unblur.disk import Staged, entries, read_bytes, recover
from unblur.errors import MediaError, ResourceError, UsageError
from unblur.ops.color import known_transfers
from unblur.schema import conform, read_json
from unblur.video.output import full
from unblur.video.probe import MAX_PIXELS, check_size

C = TypeVar("C", bound=LayeredClip)
FORMAT, VERSION = "unblur atlas", 1
HEAD = "atlas.json"
LARGEST_HEAD = 100_000_000
MOST_FRAMES = 100_000
LONGEST_NAME = 64
FOREIGN = {"fit"}
"""What may lie in a folder that is no project yet."""


def read_clip(path: str | os.PathLike[str], kind: type[C], *, cache: int) -> C:
    """Opens a project folder as a `kind`: see `unblur.atlas.project.project.open_project`."""
    folder = Path(path)
    head = read_head(folder)
    held = Cache(cache)
    try:
        T, H, W = (conform(head[key], int, key) for key in ("frames", "height", "width"))
        check_size(folder / HEAD, W, H, MAX_PIXELS)
        if not (0 < T <= MOST_FRAMES and H > 0 and W > 0):
            raise ValueError("frames")
        times = tuple(Fraction(t) for t in head["times"])
        files: dict[str, str] = dict(head["files"])
        if head["transfer"] is not None and head["transfer"] not in known_transfers():
            raise ValueError(head["transfer"])

        def maps(place: str, kind: Kind) -> Maps:
            names = {image_name(t): files[f"{place}{kind}/{image_name(t)}"] for t in range(T)}
            for name in names:
                if not (folder / place / kind / name).is_file():
                    raise MediaError(
                        f"{folder / place / kind / name} is missing: take a whole copy of the"
                        " project or fit it again"
                    )
            return Maps(folder / place, kind, (T, CHANNELS[kind], H, W), names, held)

        layers = []
        for about in head["layers"]:
            name = str(about["name"])
            if not name or set(name) & set("/\\\0") or len(name) > LONGEST_NAME:
                raise ValueError(name)
            size = int(about["width"]), int(about["height"])
            check_size(folder / HEAD, *size, MAX_PIXELS)
            rgba = read_atlas(folder / f"atlas_{name}.png", files[f"atlas_{name}.png"], *size)
            place = f"maps/{name}/"
            opaque = torch.ones(1).expand(T, 1, H, W)
            layers.append(
                Layer(
                    name,
                    rgba[:3].contiguous(),
                    rgba[3:].contiguous(),
                    maps(place, "uv"),
                    opaque if about["opaque"] else maps(place, "alpha"),
                    maps(place, "coc") if about["coc"] else None,
                )
            )
        return kind(
            tuple(layers),
            maps("", "frames"),
            times,
            None if head["frame_rate"] is None else Fraction(head["frame_rate"]),
            None if head["beta"] is None else float(head["beta"]),
            "linear" if head["light"] == "linear" else "encoded",
            head["transfer"],
            dict(head["about"]),
            folder,
        )
    except (KeyError, TypeError, ValueError, ZeroDivisionError, AttributeError) as error:
        raise damaged(folder / HEAD) from error


def read_head(folder: Path) -> dict[str, Any]:
    """The content of `atlas.json`."""
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder: name a project made by `unblur atlas fit`")
    recover(folder)
    path = folder / HEAD
    if not path.is_file():
        raise MediaError(
            f"{folder} is no project, it has no {HEAD}: name a folder that `unblur atlas fit`"
            " completed"
        )
    try:
        head = read_json(read_bytes(path, LARGEST_HEAD))
    except (MediaError, ResourceError, ValueError) as error:
        raise damaged(path) from error
    if not isinstance(head, dict) or head.get("format") != FORMAT:
        raise MediaError(f"{path} is not of a project of unblur: name another folder")
    if head.get("version") != VERSION:
        raise MediaError(
            f"{folder} is a project of format {head.get('version')!r} and this unblur reads"
            f" {VERSION}: open it with the unblur that made it"
        )
    return head


def read_atlas(path: Path, expected: str, width: int, height: int) -> Tensor:
    """(4, Ha, Wa) RGBA in [0, 1]."""
    image = read_png(path, expected, width, height)
    if image.ndim != 3 or image.shape[2] != 4:
        raise damaged(path)
    values = torch.from_numpy(image[:, :, [2, 1, 0, 3]].astype(np.float32))
    return values.permute(2, 0, 1) / float(np.iinfo(image.dtype).max)


def save_project(
    project: LayeredClip, path: str | os.PathLike[str], *, overwrite: bool = False, bits: int = 8
) -> Path:
    """Writes a project into a folder.

    Args:
        project: what to write.
        path: a folder that does not exist, is empty, or holds nothing but `fit`.
        overwrite: replace a project that is there. What is not of the format stays.
        bits: of the atlases and the frames, 8 or 16.

    Returns:
        The folder, as an absolute path.

    Raises:
        UsageError: the folder is in use, or cannot be written to.
        NumericsError: maps hold NaN or infinity.
        ResourceError: the disk is full.
    """
    folder = Path(os.path.realpath(path))
    if bits not in (8, 16):
        raise ValueError("atlases have 8 or 16 bits")
    check_free(folder, overwrite)
    staged = Staged(folder)
    part = staged.path
    try:
        sums = {}
        for name, image in images(project, bits):
            data = png(image)
            sums[name] = checksum(data)
            (part / name).parent.mkdir(parents=True, exist_ok=True)
            (part / name).write_bytes(data)
        text = json.dumps(describe(project, sums), indent=1) + "\n"
        (part / HEAD).write_text(text, encoding="utf-8")
        older = [file.name for file in folder.glob("atlas_*.png")] if overwrite else []
        remove = [name for name in older if not (part / name).exists()]
        staged.put(overwrite=overwrite, remove=remove)
    except OSError as error:
        raise full(folder, error) from error
    finally:
        staged.discard()
    return folder


def check_free(folder: Path, overwrite: bool) -> None:
    """UsageError unless a project may be written there."""
    if not folder.exists():
        return
    recover(folder)
    if not folder.is_dir():
        raise UsageError(f"{folder} is a file: name a folder for the project")
    if (folder / HEAD).exists():
        if not overwrite:
            raise UsageError(f"{folder} is a project already: choose another name or --overwrite")
        read_head(folder)  # what is foreign is not replaced
    elif any(name not in FOREIGN for name in entries(folder)):
        raise UsageError(f"{folder} holds other files: choose a new folder for the project")


def images(project: LayeredClip, bits: int) -> Iterator[tuple[str, Array]]:
    """Every image of a project and its name; channels are BGR(A)."""
    for layer in project.layers:
        rgba = torch.cat((dilate(layer.texture, layer.seen), layer.seen)).detach().cpu()
        top = 2**bits - 1
        codes = (rgba.clamp(0, 1) * top).round().permute(1, 2, 0).numpy()
        kind = np.uint8 if bits == 8 else np.uint16
        yield f"atlas_{layer.name}.png", codes[:, :, [2, 1, 0, 3]].astype(kind)
    for t in range(len(project)):
        yield f"frames/{image_name(t)}", encode(project.frames[t], "frames", bits)
        for number, layer in enumerate(project.layers):
            place = f"maps/{layer.name}"
            yield f"{place}/uv/{image_name(t)}", encode(layer.uv[t], "uv")
            if number < len(project.layers) - 1:
                yield f"{place}/alpha/{image_name(t)}", encode(layer.alpha[t], "alpha")
            if layer.radius is not None:
                yield f"{place}/coc/{image_name(t)}", encode(layer.radius[t], "coc")


def describe(project: LayeredClip, sums: dict[str, str]) -> dict[str, Any]:
    """The content of `atlas.json`."""
    height, width = project.size
    return {
        "format": FORMAT,
        "version": VERSION,
        "width": width,
        "height": height,
        "frames": len(project),
        "frame_rate": None if project.rate is None else str(project.rate),
        "times": [str(time) for time in project.times],
        "beta": project.beta,
        "light": project.light,
        "transfer": project.transfer,
        "layers": [
            {
                "name": layer.name,
                "width": layer.texture.shape[-1],
                "height": layer.texture.shape[-2],
                "opaque": number == len(project.layers) - 1,
                "coc": layer.radius is not None,
            }
            for number, layer in enumerate(project.layers)
        ],
        "units": {
            "uv": "x = (R + 65536 * (B >> 8)) / 128 - 32768, y = (G + 65536 * (B & 255)) / 128"
            " - 32768: pixels of the atlas, centres at whole numbers",
            "alpha": "value / 65535",
            "coc": "value / 256: radius of the circle of confusion in pixels of the frame",
        },
        "about": project.about,
        "files": sums,
    }


def dilate(texture: Tensor, seen: Tensor) -> Tensor:
    """The texture with colours of its surroundings where it was never seen.

    So that what resamples it draws in no colour that is not there. Coarser and coarser means fill
    what is still open.

    Args:
        texture: (3, Ha, Wa).
        seen: (1, Ha, Wa), 0 where there is no colour.
    """
    weight = (seen > 0).to(texture)
    if bool(weight.all()) or not bool(weight.any()):
        return texture
    levels = [(texture * weight, weight)]
    while max(levels[-1][0].shape[-2:]) > 1:
        colour, share = (F.avg_pool2d(x[None], 2, ceil_mode=True)[0] for x in levels[-1])
        levels.append((colour, share))
    filled = levels[-1][0] / levels[-1][1].clamp_min(1e-12)
    for colour, share in reversed(levels[:-1]):
        coarse = F.interpolate(filled[None], size=colour.shape[-2:], mode="bilinear")[0]
        filled = torch.where(share > 0, colour / share.clamp_min(1e-12), coarse)
    return torch.where(weight > 0, texture, filled)
