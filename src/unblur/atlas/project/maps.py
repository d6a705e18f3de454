"""Maps of a project on disk: a lossless PNG for each frame, read when requested.

| kind | image | values |
|---|---|---|
| `uv` | 16-bit RGB | x and y in 1/128 pixel: see `encode_uv`; exact to 0.004 pixel |
| `alpha` | 16-bit gray | 65535 is 1 |
| `coc` | 16-bit gray | 1/256 pixel, up to 255.9 |
| `frames` | 8-bit or 16-bit RGB | the clip as it was given |
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, overload

import cv2
import numpy as np
import torch
from torch import Tensor

from unblur.disk import read_bytes
from unblur.errors import MediaError, NumericsError, ResourceError, UsageError
from unblur.video.png import LARGEST_PROFILE, check_png, size_of

Kind = Literal["uv", "alpha", "coc", "frames"]
CHANNELS: dict[Kind, int] = {"uv": 2, "alpha": 1, "coc": 1, "frames": 3}
UV_STEP = 128
"""Codes a pixel of the atlas."""
UV_ZERO = 32768
"""Pixels added to a position, that may lie outside the atlas."""
COC_STEP = 256.0
WORD = 65535.0
PNG_SPEED = [cv2.IMWRITE_PNG_COMPRESSION, 3]
CACHE = 2**30
"""Bytes of decoded maps that a project keeps."""

Array = np.ndarray[Any, np.dtype[Any]]


class Cache:
    """Decoded maps, of which the longest unused make way."""

    def __init__(self, size: int = CACHE) -> None:
        self._size = size
        self._used = 0
        self._held: OrderedDict[Path, Tensor] = OrderedDict()

    def get(self, key: Path) -> Tensor | None:
        """What is held under `key`."""
        if key in self._held:
            self._held.move_to_end(key)
        return self._held.get(key)

    def put(self, key: Path, value: Tensor) -> None:
        """Holds a map, unless it alone is too large."""
        size = value.numel() * value.element_size()
        if size > self._size:
            return
        self._held[key] = value
        self._used += size
        while self._used > self._size:
            _, old = self._held.popitem(last=False)
            self._used -= old.numel() * old.element_size()


class Maps:
    """Maps of all frames: `maps[3]` is (C, H, W), `maps[2:5]` is (3, C, H, W), float32.

    Stands where a tensor (T, C, H, W) may stand, and reads no more than is requested.
    """

    def __init__(
        self,
        folder: Path,
        kind: Kind,
        shape: tuple[int, int, int, int],
        files: Mapping[str, str],
        cache: Cache,
    ) -> None:
        """Maps in `folder / kind`.

        Args:
            folder: where `kind` is a folder of images.
            kind: what they hold.
            shape: (T, C, H, W).
            files: checksum of each image by its name.
            cache: where decoded maps are held.
        """
        self.shape = torch.Size(shape)
        self._folder = folder / kind
        self._kind = kind
        self._files = files
        self._cache = cache

    def __len__(self) -> int:
        return self.shape[0]

    @overload
    def __getitem__(self, place: int | slice) -> Tensor: ...

    @overload
    def __getitem__(self, place: list[int]) -> Tensor: ...

    def __getitem__(self, place: int | slice | list[int]) -> Tensor:
        if isinstance(place, int):
            if not -len(self) <= place < len(self):
                raise IndexError(f"frame {place} of {len(self)}")
            return self._read(place % len(self))
        chosen = range(len(self))[place] if isinstance(place, slice) else place
        if not len(chosen):
            return torch.empty(0, *self.shape[1:])
        return torch.stack([self[t] for t in chosen])

    def _read(self, t: int) -> Tensor:
        name = image_name(t)
        path = self._folder / name
        found = self._cache.get(path)
        if found is None:
            image = read_png(path, self._files[name], self.shape[3], self.shape[2])
            found = decode(image, self._kind, path)
            if found.shape != self.shape[1:]:
                raise damaged(path)
            self._cache.put(path, found)
        return found


def image_name(t: int) -> str:
    """File of frame `t`."""
    return f"{t:05}.png"


def encode(values: Tensor, kind: Kind, bits: int = 8) -> Array:
    """The image that holds the maps (C, H, W) of a frame.

    Raises:
        NumericsError: values are not finite.
        UsageError: positions lie too far out to be written.
    """
    if not bool(torch.isfinite(values).all()):
        raise NumericsError(f"{kind} holds NaN or infinity: the fit went wrong, lower its rate")
    values = values.detach().cpu()
    if kind == "uv":
        return encode_uv(values)
    top = WORD if kind != "frames" or bits == 16 else 255.0
    scale = COC_STEP if kind == "coc" else top
    codes = (values.float() * scale).round().clamp(0, top)
    array = codes.permute(1, 2, 0).numpy().astype(np.uint8 if top == 255 else np.uint16)
    return np.ascontiguousarray(array[:, :, ::-1])


def encode_uv(uv: Tensor) -> Array:
    """Positions (2, H, W) as 16-bit RGB: red and green are the low 16 bits of the codes of x and
    y, blue the high 8 bits of both. A code is `(position + 32768) * 128`.
    """
    codes = ((uv.double() + UV_ZERO) * UV_STEP).round().long()
    if bool((codes < 0).any()) or bool((codes >= 2**24).any()):
        raise UsageError(
            "positions lie more than 32768 pixels away from the atlas: make it smaller"
        )
    low, high = codes & 0xFFFF, codes >> 16
    rgb = torch.stack((low[0], low[1], (high[0] << 8) | high[1]))  # (3, H, W)
    array = rgb.permute(1, 2, 0).numpy().astype(np.uint16)
    return np.ascontiguousarray(array[:, :, ::-1])


def decode(image: Array, kind: Kind, path: Path) -> Tensor:
    """The inverse of `encode`: (C, H, W) float32."""
    gray = image.ndim == 2
    if gray != (CHANNELS[kind] == 1) or (not gray and image.shape[2] != 3):
        raise damaged(path)
    if kind != "frames" and image.dtype != np.uint16:
        raise damaged(path)
    if kind == "uv":
        b, g, r = (torch.from_numpy(image[:, :, i].astype(np.int32)) for i in range(3))
        codes = torch.stack((r | (b >> 8) << 16, g | (b & 0xFF) << 16))
        return (codes.double() / UV_STEP - UV_ZERO).float()
    values = torch.from_numpy(image.astype(np.float32))
    if gray:
        return values[None] / (COC_STEP if kind == "coc" else WORD)
    top = WORD if image.dtype == np.uint16 else 255.0
    return (values.flip(-1).permute(2, 0, 1) / top).contiguous()


def png(image: Array) -> bytes:
    """An image as the bytes of a PNG file; channels are BGR(A)."""
    done, data = cv2.imencode(".png", image, PNG_SPEED)
    if not done:
        raise NumericsError("an image cannot be encoded as PNG")
    return data.tobytes()


def checksum(data: bytes) -> str:
    """What tells a file from a changed one."""
    return hashlib.sha256(data).hexdigest()


def read_png(path: Path, expected: str, width: int, height: int) -> Array:
    """An image whose content is `expected`; channels are BGR(A).

    Args:
        path: the file.
        expected: its checksum.
        width: that it must have, in pixels.
        height: likewise.

    Raises:
        MediaError: the file is missing, damaged or was changed.
    """
    try:
        data = read_bytes(path, 16 * width * height + LARGEST_PROFILE)
    except (MediaError, ResourceError) as error:
        raise MediaError(
            f"{error}; the project is incomplete, take a whole copy of it or fit it again"
        ) from error
    if checksum(data) != expected or size_of(data) != (width, height):
        raise damaged(path)
    check_png(path, data)
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise damaged(path)
    return image


def damaged(path: Path) -> MediaError:
    """The error for a file of a project that is not as it was written."""
    return MediaError(
        f"{path} is damaged or was changed: put the original back or fit the project again"
        " (edited atlases are given under other names)"
    )
