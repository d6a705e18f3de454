"""Frames as programs hold them, to the engine's RGB and back: NumPy, PyTorch, Pillow, and lists.

- NumPy: an image `(H, W, 3)` or a clip `(T, H, W, 3)`.
- PyTorch: a clip `(T, 3, H, W)`, or several `(B, T, 3, H, W)`.
- Pillow: an image of mode `RGB`.
- A list or tuple of frames, all of one kind and size: arrays `(H, W, 3)`, tensors `(3, H, W)`, or
  Pillow images.

Numbers are `uint8`, `uint16` (of which all 16 bits count), or floats in [0, 1].
Channels are R, G, B. What comes back is what was given: kind, type of numbers, device. Anything
else is refused with what to do about it; nothing is guessed.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unblur.errors import UnblurWarning, UsageError

TAKEN = (
    "an image or a clip is a NumPy array (H, W, 3) or (T, H, W, 3), a tensor (T, 3, H, W) or "
    "(B, T, 3, H, W), a Pillow image, or a list of frames"
)
LOWEST, HIGHEST = -0.5, 1.5
"""Floats beyond are no [0, 1]; within are colours that YUV holds and RGB does not."""
TEN_BITS = 1023
"""The highest sample of what is 16 bits wide and holds 10."""
WHOLE = {np.dtype("uint8"): 255, np.dtype("uint16"): 65535}
WHOLE_TORCH = {torch.uint8: 255, torch.uint16: 65535}
FLOATS_TORCH = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


class PillowImage(Protocol):
    """An image of Pillow, which need not be installed."""

    @property
    def mode(self) -> str:
        """Kind of its pixels."""
        ...

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        ...

    def tobytes(self) -> bytes:
        """Its samples."""
        ...


Array = NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.floating[Any]]
OneFrame = TypeVar("OneFrame", bound=Tensor | Array | PillowImage)
"""A single frame, of a stream or a list."""
Frames = TypeVar(
    "Frames",
    bound=Tensor | Array | PillowImage | Sequence[Tensor] | Sequence[Array] | Sequence[PillowImage],
)
"""Whatever holds frames."""


@dataclass(frozen=True, eq=False)
class Given:
    """A frame as it was given: shows itself as RGB, and makes of RGB what it is itself."""

    frame: Any

    def rgb(self) -> Tensor:
        """`(3, H, W)`, float32, on the CPU; [0, 1] is black to white."""
        frame = self.frame
        if isinstance(frame, Tensor):
            # Gradients do not pass a restoration, so nothing of the caller's graph is held.
            most = WHOLE_TORCH.get(frame.dtype)
            values = frame.detach().to("cpu", torch.float32)
            return values if most is None else values / most
        array = np.asarray(frame)
        most = WHOLE.get(array.dtype.newbyteorder("="))
        values = torch.from_numpy(np.ascontiguousarray(array, np.float32)).permute(2, 0, 1)
        values = values.contiguous()
        return values if most is None else values / most

    def like(self, rgb: Tensor) -> Any:
        """What `rgb` (3, h, w) is in the kind of this frame; whole numbers are rounded."""
        frame = self.frame
        values = rgb.detach().to("cpu", torch.float32)
        if isinstance(frame, Tensor):
            most = WHOLE_TORCH.get(frame.dtype)
            if most is not None:
                values = (values.clamp(0, 1) * most).round()
            return values.to(frame.device, frame.dtype)
        array = values.permute(1, 2, 0).numpy()
        kind = np.dtype("uint8") if is_pillow(frame) else frame.dtype
        most = WHOLE.get(kind.newbyteorder("="))
        if most is not None:
            array = np.rint(array.clip(0, 1) * np.float32(most))
        array = np.ascontiguousarray(array).astype(kind)
        return pillow_like(frame, array) if is_pillow(frame) else array


class Clips(NamedTuple):
    """What was given, taken apart."""

    clips: list[list[Given]]
    whole: Callable[[list[list[Any]]], Any]
    """Puts frames, as `Given.like` makes them, together to what was given."""


def taken_apart(source: Any, unbounded: bool = False) -> Clips:
    """The frames of whatever holds some.

    Args:
        source: see above.
        unbounded: floats may be as high as they like, as in linear light.

    Raises:
        UsageError: it is nothing of that, or its shape, numbers or range do not fit.
    """
    if isinstance(source, list | tuple):
        frames = [checked(frame, n, unbounded) for n, frame in enumerate(source)]
        if not frames:
            raise UsageError(f"an empty list holds nothing to restore: {TAKEN}")
        for n, frame in enumerate(frames):
            check_same_kind(frames[0], frame, n)
        kind = type(source) if type(source) in (list, tuple) else list
        found = Clips([frames], lambda made: kind(made[0]))
    elif isinstance(source, Tensor):
        check_tensor(source, unbounded)
        clips = source if source.ndim == 5 else source[None]
        stacked: Callable[[list[list[Any]]], Any] = (
            (lambda made: torch.stack([torch.stack(clip) for clip in made]))
            if source.ndim == 5
            else (lambda made: torch.stack(made[0]))
        )
        found = Clips([[Given(frame) for frame in clip] for clip in clips], stacked)
    elif isinstance(source, np.ndarray):
        check_array(source, (3, 4), "the array", unbounded)
        if source.ndim == 4:
            # Of another byte order stacking makes the machine's own.
            stack = lambda made: np.stack(made[0]).astype(source.dtype, copy=False)  # noqa: E731
            found = Clips([[Given(frame) for frame in source]], stack)
        else:
            found = Clips([[Given(source)]], lambda made: made[0][0])
    elif is_pillow(source):
        found = Clips([[checked(source, None)]], lambda made: made[0][0])
    else:
        name = f"{type(source).__module__}.{type(source).__qualname__}"
        raise UsageError(f"cannot restore a {name}: {TAKEN}; a file is named by its path")
    warn_of_few_bits(found.clips)
    return found


def checked(frame: Any, number: int | None, unbounded: bool = False) -> Given:
    """A single frame: `(H, W, 3)`, a tensor `(3, H, W)`, or a Pillow image.

    Args:
        frame: to be looked at.
        number: its place among others, for messages.
        unbounded: as in `taken_apart`.

    Raises:
        UsageError: it is no frame.
    """
    name = "the image" if number is None else f"frame {number}"
    if isinstance(frame, Tensor):
        check_plain(frame, name)
        if frame.ndim != 3 or frame.shape[0] != 3 or 0 in frame.shape:
            raise UsageError(f"{name} is a tensor {tuple(frame.shape)}: it is to be (3, H, W)")
        check_numbers_torch(frame, name, unbounded)
    elif isinstance(frame, np.ndarray):
        check_array(frame, (3,), name, unbounded)
    elif is_pillow(frame):
        if frame.mode != "RGB":
            raise UsageError(
                f"{name} is a Pillow image of mode {frame.mode}: give image.convert('RGB')"
            )
        if 0 in frame.size:
            raise UsageError(
                f"{name} is a Pillow image of {frame.width}x{frame.height}: it is empty"
            )
    else:
        kind = f"{type(frame).__module__}.{type(frame).__qualname__}"
        hint = "; a folder of images is named by its path" if isinstance(frame, str) else ""
        raise UsageError(
            f"{name} is a {kind}: frames are NumPy arrays (H, W, 3), tensors (3, H, W) or Pillow "
            f"images{hint}"
        )
    return Given(frame)


def check_same_kind(first: Given, other: Given, number: int) -> None:
    """Raises `UsageError` where a frame is not of the kind, size and numbers of the first."""
    kinds = [described(given.frame) for given in (first, other)]
    if kinds[0] != kinds[1]:
        raise UsageError(
            f"frame {number} is {kinds[1]} and frame 0 {kinds[0]}: give all as the same"
        )


def described(frame: Any) -> str:
    """A frame's kind, size and numbers."""
    if is_pillow(frame):
        return f"a Pillow image of {frame.width}x{frame.height}"
    kind = "a tensor" if isinstance(frame, Tensor) else "an array"
    return f"{kind} {tuple(frame.shape)} of {frame.dtype}"


def check_array(array: Any, dimensions: Sequence[int], name: str, unbounded: bool) -> None:
    """Raises `UsageError` unless it is (..., H, W, 3) with numbers that mean something."""
    shape = tuple(array.shape)
    if isinstance(array, np.ma.MaskedArray):
        raise UsageError(f"{name} is masked: fill it, array.filled(0)")
    if len(shape) not in dimensions or shape[-1] != 3 or 0 in shape:
        remedy = "an image is (H, W, 3)" + ", a clip (T, H, W, 3)" * (4 in dimensions)
        if len(shape) == 2:
            remedy = "gray becomes (H, W, 3) by np.stack([array] * 3, -1)"
        elif len(shape) >= 3 and shape[-1] == 4:
            remedy = "leave alpha out, array[..., :3]"
        elif len(shape) >= 3 and shape[-1] == 1:
            remedy = "gray becomes (H, W, 3) by np.repeat(array, 3, -1)"
        elif len(shape) >= 3 and shape[-1] != 3 and shape[-3] == 3:
            remedy = "put channels last, np.moveaxis(array, -3, -1)"
        raise UsageError(f"{name} is {shape}: {remedy}")
    kind = array.dtype.newbyteorder("=")
    if kind not in WHOLE and kind.kind != "f":
        raise UsageError(f"{name} holds {array.dtype}: give uint8, uint16, or floats in [0, 1]")
    if kind.kind == "f":
        check_range(float(array.min()), float(array.max()), name, unbounded)


def check_tensor(tensor: Tensor, unbounded: bool) -> None:
    """Raises `UsageError` unless it is (T, 3, H, W) or (B, T, 3, H, W) with fitting numbers."""
    check_plain(tensor, "the tensor")
    shape = tuple(tensor.shape)
    if tensor.ndim not in (4, 5) or shape[-3] != 3 or 0 in shape:
        remedy = ""
        if tensor.ndim == 3 and shape[0] == 3:
            remedy = ": an image is a clip of one frame, tensor[None]"
        elif tensor.ndim >= 3 and shape[-1] == 3:
            remedy = ": put channels before rows, tensor.movedim(-1, -3)"
        elif tensor.ndim >= 4 and shape[-3] == 4:
            remedy = ": leave alpha out, tensor[..., :3, :, :]"
        raise UsageError(
            f"a tensor to restore is (T, 3, H, W) or (B, T, 3, H, W), not {shape}{remedy}"
        )
    check_numbers_torch(tensor, "the tensor", unbounded)


def check_plain(tensor: Tensor, name: str) -> None:
    """Raises `UsageError` for tensors whose samples do not simply lie there."""
    kind = "meta" if tensor.is_meta else "nested" if tensor.is_nested else str(tensor.layout)[6:]
    if kind != "strided":
        remedy = "give tensor.to_dense()" if "sparse" in kind else "give an ordinary tensor"
        raise UsageError(f"{name} is {kind}: {remedy}")


def check_numbers_torch(tensor: Tensor, name: str, unbounded: bool) -> None:
    """Raises `UsageError` unless the numbers of a tensor mean something."""
    if tensor.dtype not in WHOLE_TORCH and tensor.dtype not in FLOATS_TORCH:
        raise UsageError(f"{name} holds {tensor.dtype}: give uint8, uint16, or floats in [0, 1]")
    if tensor.dtype in FLOATS_TORCH:
        low, high = tensor.detach().aminmax()
        check_range(float(low), float(high), name, unbounded)


def check_range(low: float, high: float, name: str, unbounded: bool) -> None:
    """Raises `UsageError` for floats that are not [0, 1], or nearly."""
    if not (np.isfinite(low) and np.isfinite(high)):
        raise UsageError(f"{name} holds NaN or infinity: np.nan_to_num or torch.nan_to_num it")
    if low < LOWEST or (high > HIGHEST and not unbounded):
        remedy = "scale it to [0, 1]"
        if low >= LOWEST and high <= 255:
            remedy = "divide by 255"
        elif low >= LOWEST and high <= 65535:
            remedy = "divide by 65535"
        elif low >= -1 and high <= 1:
            remedy = "give (x + 1) / 2"
        raise UsageError(f"{name} holds floats from {low:.4g} to {high:.4g}: {remedy}")


def warn_of_few_bits(clips: Sequence[Sequence[Given]]) -> None:
    """Says that 16-bit samples look like 10-bit ones, which would be all but black."""
    most = 0
    for given in (given for clip in clips for given in clip):
        frame = given.frame
        if is_pillow(frame) or "uint16" not in str(frame.dtype):
            return
        top = frame.to(torch.int32).max() if isinstance(frame, Tensor) else frame.max()
        most = max(most, int(top))
        if most > TEN_BITS:
            return
    if most:
        warnings.warn(
            f"16-bit samples reach {most} of 65535 only: if they are 10-bit ones, multiply by 64",
            UnblurWarning,
            stacklevel=4,
        )


def is_pillow(frame: Any) -> bool:
    """Whether it is an image of Pillow, which is never imported for that."""
    pillow = sys.modules.get("PIL.Image")
    return pillow is not None and isinstance(frame, pillow.Image)


def pillow_like(image: Any, array: Any) -> Any:
    """A Pillow image of the samples (H, W, 3), with the profile and other facts of another."""
    made = sys.modules["PIL.Image"].fromarray(array)
    made.info.update(image.info)
    return made
