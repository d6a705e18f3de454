"""Images that people paint: overlays and edited atlases, flat or in layers."""

from __future__ import annotations

import io
import os
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import av
import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from unblur.atlas.project.clip import Layer
from unblur.disk import read_bytes
from unblur.errors import MediaError, ResourceError, UsageError
from unblur.video.png import check_png, size_of

CHANGED = 2 / 255
"""Difference to the atlas above which it was painted on."""
FEATHER = 2
"""Pixels over which a change fades out around what was painted."""
KEPT = 3 / 255
"""Difference of an edited atlas's opacity to the atlas's own."""
LARGEST_HEAD = 2**20
"""Bytes that the list of a document's layers may have."""
MOST_LAYERS = 1000
DEEPEST = 32
"""Levels of groups in groups."""
MARGIN = 4
"""Times the atlas's pixels that an image may have: layers may reach beyond the canvas."""
IMAGE_FORMATS = ",".join(
    f"{kind}_pipe" for kind in ("bmp", "exr", "jpeg", "jpegxl", "j2k", "png", "tiff", "webp")
)
"""What FFmpeg calls files of one image."""
OVER = ("svg:src-over", "")


def read_edit(path: str | os.PathLike[str], layer: Layer) -> Tensor:
    """Reads what is to be painted on a layer's atlas.

    Args:
        path: an image (PNG, TIFF, ...), OpenRaster (`.ora`), or Photoshop (`.psd`, `.psb`, which
            needs psd-tools), of the atlas's size. Layers of a document are laid over each other.
        layer: whose atlas it belongs to.

    Returns:
        (4, Ha, Wa) RGB and opacity of the overlay: see `overlay_of`.

    Raises:
        MediaError: it cannot be read.
        UsageError: it has another size.
    """
    file = Path(path)
    suffix = file.suffix.lower()
    size = (layer.texture.shape[-2], layer.texture.shape[-1])
    data = read_bytes(file, most_bytes(size))
    if suffix == ".ora":
        rgba = read_openraster(data, file, size)
    elif suffix in (".psd", ".psb"):
        rgba = read_photoshop(data, file, size)
    else:
        rgba = as_rgba(data, str(file), size)
    return overlay_of(rgba, layer, str(file))


def overlay_of(image: Tensor, layer: Layer, name: str = "the edit") -> Tensor:
    """What of an image differs from a layer's atlas.

    Both ways to edit come to the same: of an overlay all that is opaque differs; of a whole edited
    atlas what was painted, feathered by `FEATHER` pixels. Parts that are as they were stay those
    of the clip.

    Args:
        image: (3 or 4, Ha, Wa) encoded RGB, and straight opacity, in [0, 1].
        layer: the layer.
        name: of the image, for errors.

    Returns:
        (4, Ha, Wa) RGB and opacity.

    Raises:
        UsageError: it has another size.
    """
    size = layer.texture.shape[-2:]
    if image.ndim != 3 or image.shape[0] not in (3, 4) or image.shape[-2:] != size:
        width, height = image.shape[-1], image.shape[-2]
        raise UsageError(
            f"{name} is {width}x{height} and the atlas of {layer.name} is {size[1]}x{size[0]}:"
            " paint on a copy of the atlas itself"
        )
    rgb = image[:3]
    opacity = image[3:] if len(image) == 4 else torch.ones_like(image[:1])
    shown = layer.seen > 0.02
    kept = ((opacity - layer.seen).abs() <= KEPT)[shown]
    if kept.numel() and float(kept.float().mean()) > 0.5:  # the atlas's own: no opacity of paint
        opacity = torch.where(shown, opacity / layer.seen.clamp_min(0.02), opacity).clamp(max=1)
    differs = (rgb - layer.texture).abs().amax(0, keepdim=True) > CHANGED
    weight = differs.to(rgb)
    for step in range(1, FEATHER + 1):
        near = F.max_pool2d(differs.to(rgb)[None], 2 * step + 1, 1, step)[0]
        weight = torch.maximum(weight, near * (1 - step / (FEATHER + 1)))
    return torch.cat((rgb, opacity * weight))


def most_bytes(size: tuple[int, int]) -> int:
    """Bytes that a file may have which holds images for an atlas of (Ha, Wa)."""
    return 64 * MARGIN * size[0] * size[1] + 2**26


def as_rgba(data: bytes, name: str, size: tuple[int, int]) -> Tensor:
    """An image file as (4, H, W) in [0, 1], opaque where it says nothing.

    Args:
        data: of the file.
        name: of the file, for messages.
        size: (Ha, Wa) of the atlas it is for; much larger images are refused before they are
            decoded.
    """
    check_png(name, data)
    most = MARGIN * size[0] * size[1] + 2**16
    claimed = claimed_size(data, most)
    if claimed is not None and claimed[0] * claimed[1] > most:
        raise UsageError(
            f"{name} has more than {most} pixels and the atlas is {size[1]}x{size[0]}: paint on a"
            " copy of the atlas itself"
        )
    found = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if data else None
    if found is None:
        raise MediaError(f"{name} is no image that can be read: save it as PNG")
    image: np.ndarray[Any, np.dtype[Any]] = found
    if image.dtype.kind == "u":
        image = image.astype(np.float32) / float(np.iinfo(image.dtype).max)
    if image.ndim == 2:
        image = image[:, :, None].repeat(3, 2)
    if image.shape[2] == 3:
        image = np.concatenate((image, np.ones_like(image[:, :, :1])), 2)
    values = torch.from_numpy(image[:, :, [2, 1, 0, 3]].astype(np.float32))
    if not bool(torch.isfinite(values).all()):
        raise MediaError(f"{name} holds NaN or infinity: save it as PNG")
    return values.permute(2, 0, 1).clamp(0, 1).contiguous()


def claimed_size(data: bytes, most: int) -> tuple[int, int] | None:
    """Width and height by the header of an image; None where FFmpeg cannot tell.

    Args:
        data: of the file.
        most: pixels from which on FFmpeg is not to look any further; then both are huge.
    """
    if found := size_of(data):
        return found
    options = {
        "format_whitelist": IMAGE_FORMATS,
        "protocol_whitelist": "none",
        "max_pixels": str(most),
    }
    try:
        with av.open(io.BytesIO(data), options=options) as file:
            context = file.streams.video[0].codec_context
            return (context.width, context.height) if context.width else (2**31, 2**31)
    except (av.FFmpegError, OSError, ValueError, IndexError, AttributeError):
        return None


def read_openraster(data: bytes, path: Path, size: tuple[int, int]) -> Tensor:
    """A layered OpenRaster document of an atlas's size (Ha, Wa), flattened: (4, H, W).

    Where its layers are mixed in other ways than by opacity, the flat image in it is taken.
    https://www.openraster.org/baseline/baseline.html
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            stack = entry(archive, "stack.xml", path, LARGEST_HEAD)
            # Encodings with zeros would hide the words.
            if b"<!DOCTYPE" in stack or b"<!ENTITY" in stack or b"\0" in stack:
                raise MediaError(f"{path} defines entities, which OpenRaster has not: save it anew")
            image = ElementTree.fromstring(stack)  # noqa: S314
            width, height = int(image.get("w", "")), int(image.get("h", ""))
            if (height, width) != size:
                raise UsageError(
                    f"{path} is {width}x{height} and the atlas is {size[1]}x{size[0]}: paint on a"
                    " copy of the atlas itself"
                )
            if sum(1 for _ in image.iter()) > MOST_LAYERS:
                raise ValueError(f"more than {MOST_LAYERS} layers")
            root = image.find("stack")
            if root is None:
                raise ValueError("stack")
            if plain(root):
                canvas = torch.zeros(4, height, width)
                return straight(lay_stack(root, archive, path, canvas))
            name = "mergedimage.png"
            flat = as_rgba(entry(archive, name, path, most_bytes(size)), f"{path}: {name}", size)
            if flat.shape[1:] != (height, width):
                raise ValueError("mergedimage.png")
            return flat
    except _BAD_DOCUMENT as error:
        raise MediaError(
            f"{path} is no whole OpenRaster document ({error}): save it anew, or as PNG"
        ) from error


_BAD_DOCUMENT = (
    *(zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, LookupError),
    *(ElementTree.ParseError, ValueError, NotImplementedError),
)


def plain(node: ElementTree.Element, level: int = 0) -> bool:
    """Whether layers are mixed by opacity alone, all the way down."""
    if level > DEEPEST:
        raise ValueError("groups in groups without an end")
    own = node.get("composite-op", "") in OVER or node.get("visibility") == "hidden"
    return own and all(plain(child, level + 1) for child in node if child.tag in ("stack", "layer"))


def lay_stack(
    node: ElementTree.Element, archive: zipfile.ZipFile, path: Path, canvas: Tensor
) -> Tensor:
    """The layers of a stack over each other, top one first in the file: premultiplied RGBA."""
    out = torch.zeros_like(canvas)
    for child in reversed(list(node)):
        if child.tag not in ("stack", "layer") or child.get("visibility") == "hidden":
            continue
        if child.tag == "stack":
            top = lay_stack(child, archive, path, canvas)
        else:
            top = placed(child, archive, path, canvas)
        top = top * min(max(float(child.get("opacity", "1")), 0.0), 1.0)
        out = top + (1 - top[3:]) * out
    return out


def placed(
    node: ElementTree.Element, archive: zipfile.ZipFile, path: Path, canvas: Tensor
) -> Tensor:
    """A layer at its place on the canvas, premultiplied."""
    name = node.get("src", "")
    H, W = canvas.shape[-2:]
    data = entry(archive, name, path, most_bytes((H, W)))
    rgba = as_rgba(data, f"{path}: {name}", (H, W))
    rgba[:3] *= rgba[3:]
    x, y = int(node.get("x", "0")), int(node.get("y", "0"))
    out = torch.zeros_like(canvas)
    h, w = rgba.shape[-2:]
    left, right, top, bottom = max(x, 0), min(x + w, W), max(y, 0), min(y + h, H)
    if left < right and top < bottom:
        out[:, top:bottom, left:right] = rgba[:, top - y : bottom - y, left - x : right - x]
    return out


def straight(premultiplied: Tensor) -> Tensor:
    """Colours divided by their opacity."""
    opacity = premultiplied[3:]
    return torch.cat(((premultiplied[:3] / opacity.clamp_min(1e-6)).clamp(0, 1), opacity))


def entry(archive: zipfile.ZipFile, name: str, path: Path, most: int) -> bytes:
    """A file of an archive, of at most so many bytes."""
    try:
        about = archive.getinfo(name)
    except KeyError:
        raise MediaError(f"{path} holds no {name}: save it anew, or as PNG") from None
    with archive.open(about) as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise ResourceError(f"{path}: {name} is larger than any atlas: save the document anew")
    return data


def read_photoshop(data: bytes, path: Path, size: tuple[int, int]) -> Tensor:
    """A Photoshop document of an atlas's size (Ha, Wa), flattened by psd-tools: (4, H, W)."""
    if data[:4] == b"8BPS" and len(data) >= 26:
        claimed = struct.unpack_from(">II", data, 14)
        if claimed != size:
            raise UsageError(
                f"{path} is {claimed[1]}x{claimed[0]} and the atlas is {size[1]}x{size[0]}: paint"
                " on a copy of the atlas itself"
            )
    try:
        from psd_tools import PSDImage
    except ImportError:
        raise UsageError(
            f"{path}: Photoshop documents need psd-tools (pip install psd-tools): install it, or"
            " save the document as PNG or OpenRaster"
        ) from None
    try:
        flat = PSDImage.open(io.BytesIO(data)).composite()
        if flat is None:
            raise ValueError("no layers")
        values = np.asarray(flat.convert("RGBA"), np.float32) / 255
    except Exception as error:  # psd-tools raises what it likes on damaged files
        raise MediaError(
            f"{path} cannot be read by psd-tools ({error}): save it as PNG or OpenRaster"
        ) from error
    return torch.from_numpy(values).permute(2, 0, 1).contiguous()
