"""Nodes for ComfyUI: load a model, restore, analyze, maps of blur and depth, blur on purpose.

A batch of images is a video: its frames in order. ComfyUI's IMAGE is `(B, H, W, 3)`, floats in
[0, 1], and its MASK `(B, H, W)`. A folder in `custom_nodes` whose `__init__.py` imports the two
mappings at the end is all that ComfyUI needs: see examples/comfyui.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

import unblur

CATEGORY = "unblur"
MODEL = "UNBLUR_MODEL"
"""A loaded model, handed from node to node."""
Inputs = dict[str, dict[str, tuple[Any, ...]]]


def number(default: float, low: float, high: float, step: float, tip: str) -> tuple[str, Any]:
    """An input of a number."""
    return "FLOAT", {"default": default, "min": low, "max": high, "step": step, "tooltip": tip}


def models() -> list[str]:
    """Names to choose from: what ships, and restores something."""
    return [info.name for info in unblur.list_models() if info.ships and not info.passes_through]


def frames_of(images: Tensor) -> Tensor:
    """A batch of ComfyUI's images `(B, H, W, 3)` as `(T, 3, H, W)`."""
    return images.movedim(-1, 1)


def images_of(frames: Tensor) -> Tensor:
    """The inverse; values within [0, 1], as other nodes expect."""
    return frames.movedim(1, -1).clamp(0, 1).contiguous()


class LoadModel:
    """Loads a model once, for any number of nodes."""

    CATEGORY = CATEGORY
    FUNCTION = "load"
    RETURN_TYPES = (MODEL,)
    RETURN_NAMES = ("model",)
    DESCRIPTION = (
        "Loads a network: motion-s and motion-m for motion blur, focus-s for missed focus."
    )

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:  # noqa: N802 - ComfyUI's name
        """What the node shows."""
        return {
            "required": {
                "name": (models(), {"default": "motion-s"}),
                "device": (["auto", "cpu", "cuda", "mps"], {"default": "auto"}),
                "precision": (["auto", "fp32", "bf16", "fp16"], {"default": "auto"}),
            },
            "optional": {
                "scale": ("INT", {"default": 1, "min": 1, "max": 2, "tooltip": "2: focus-s only"}),
            },
        }

    def load(self, name: str, device: str, precision: str, scale: int = 1) -> tuple[Any]:
        """The loaded model."""
        return (unblur.load_model(name, device=device, precision=precision, scale=scale),)


class Restore:
    """Makes the frames of a video sharp."""

    CATEGORY = CATEGORY
    FUNCTION = "restore"
    RETURN_TYPES = ("IMAGE",)
    RETURN_NAMES = ("images",)
    DESCRIPTION = "Makes a blurred video, a batch of its frames in order, sharp."

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:  # noqa: N802
        """What the node shows."""
        return {
            "required": {
                "images": ("IMAGE",),
                "model": (MODEL,),
                "strength": number(1.0, 0.0, 1.0, 0.05, "0 keeps the frames, 1 restores fully"),
                "light": (["auto", "linear", "encoded"], {"default": "auto"}),
                "fuse": (["auto", "off", *map(str, range(1, 9))], {"default": "auto"}),
            },
            "optional": {
                "window": ("INT", {"default": 0, "min": 0, "max": 96, "tooltip": "0: what fits"}),
                "tile": ("INT", {"default": 0, "min": 0, "max": 4096, "tooltip": "0: what fits"}),
            },
        }

    def restore(
        self,
        images: Tensor,
        model: Any,
        strength: float,
        light: Any,
        fuse: str,
        window: int = 0,
        tile: int = 0,
    ) -> tuple[Tensor]:
        """The restored images."""
        sharp = unblur.restore(
            frames_of(images),
            model=model,
            strength=strength,
            light=light,
            fuse=fuse,
            window=window or None,
            tile=tile or None,
            progress=shown_progress(len(images)),
        )
        return (images_of(sharp),)


class Analyze:
    """Says how a video is blurred."""

    CATEGORY = CATEGORY
    FUNCTION = "analyze"
    RETURN_TYPES = ("STRING", "STRING", "STRING")
    RETURN_NAMES = ("summary", "kind", "model")
    DESCRIPTION = "Says how a video is blurred, and which model to take."

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:  # noqa: N802
        """What the node shows."""
        return {"required": {"images": ("IMAGE",)}}

    def analyze(self, images: Tensor) -> tuple[str, str, str]:
        """A line for each shot, the kind of blur of all of them, and the model for it."""
        found = unblur.analyze(frames_of(images), estimate=False)
        lines = [
            f"frames {s.start} to {s.stop - 1}: {s.kind}, moved {s.motion:.1f} pixels, "
            f"radius of focus {s.radius:.1f} pixels: {s.model}"
            for s in found.shots
        ]
        longest = max(found.shots, key=lambda shot: shot.stop - shot.start)
        return "\n".join(lines), found.kind, longest.model


class Maps:
    """How far out of focus each pixel is, or how deep."""

    CATEGORY = CATEGORY
    FUNCTION = "find"
    RETURN_TYPES = ("IMAGE", "MASK")
    RETURN_NAMES = ("map", "mask")
    DESCRIPTION = "Blur map (white: most out of focus) or depth (white: far) of each frame."

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:  # noqa: N802
        """What the node shows."""
        return {
            "required": {
                "images": ("IMAGE",),
                "look": (["blur", "depth"], {"default": "blur"}),
                "depth": (["builtin", "depth-anything"], {"default": "builtin"}),
            }
        }

    def find(self, images: Tensor, look: Any, depth: str) -> tuple[Tensor, Tensor]:
        """The map as gray images, and as a mask."""
        found = unblur.maps_of_frames(frames_of(images), look, depth=depth)
        found = found.to(images.device)
        return images_of(found.expand(-1, 3, -1, -1)), found[:, 0].clamp(0, 1)


class Simulate:
    """Blurs a sharp video on purpose."""

    CATEGORY = CATEGORY
    FUNCTION = "blur"
    RETURN_TYPES = ("IMAGE",)
    RETURN_NAMES = ("images",)
    DESCRIPTION = "Blurs sharp frames by a long exposure, or by a focus that is pulled."

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:  # noqa: N802
        """What the node shows."""
        return {
            "required": {
                "images": ("IMAGE",),
                "blur": (["motion", "focus"], {"default": "motion"}),
                "exposure": number(0.5, 0.05, 1.0, 0.05, "of the time between frames"),
                "shake": number(0.0, 0.0, 50.0, 0.5, "of the hand, in pixels"),
                "radius": number(8.0, 0.5, 100.0, 0.5, "of what is farthest from the focus"),
                "focus": ("STRING", {"default": "near@f0 far@f24", "tooltip": "DEPTH@TIME ..."}),
                "seed": ("INT", {"default": 0, "min": 0, "max": 2**32 - 1}),
            }
        }

    def blur(
        self,
        images: Tensor,
        blur: str,
        exposure: float,
        shake: float,
        radius: float,
        focus: str,
        seed: int,
    ) -> tuple[Tensor]:
        """The blurred images."""
        frames, simulate = frames_of(images), unblur.simulate
        if blur == "motion":
            made = simulate.motion_of_frames(frames, exposure=exposure, shake=shake, seed=seed)
        else:
            made = simulate.focus_of_frames(frames, focus.split(), radius=radius)
        return (images_of(made),)


def shown_progress(total: int) -> Callable[[unblur.Progress], None] | None:
    """ComfyUI's bar over a job, and its way to cancel one; None outside of ComfyUI."""
    try:
        from comfy.model_management import throw_exception_if_processing_interrupted
        from comfy.utils import ProgressBar
    except ImportError:
        return None
    bar = ProgressBar(total)

    def show(now: unblur.Progress) -> None:
        throw_exception_if_processing_interrupted()
        bar.update_absolute(min(total, round(total * (now.share or 0.0))), total)

    return show


NODE_CLASS_MAPPINGS: dict[str, type] = {
    "UnblurLoadModel": LoadModel,
    "UnblurRestore": Restore,
    "UnblurAnalyze": Analyze,
    "UnblurMaps": Maps,
    "UnblurSimulate": Simulate,
}
NODE_DISPLAY_NAME_MAPPINGS: dict[str, str] = {
    "UnblurLoadModel": "Unblur: load model",
    "UnblurRestore": "Unblur: restore video",
    "UnblurAnalyze": "Unblur: analyze blur",
    "UnblurMaps": "Unblur: blur or depth map",
    "UnblurSimulate": "Unblur: blur on purpose",
}
