"""Rendered clips that are kept: on a CPU a clip takes longer to render than to learn from."""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from unblur.disk import sync
from unblur.ops.turn import turned, turned_flow
from unblur.synth import SceneConfig, TextureBank
from unblur.training.batches import Batch, Rendered, drawing

GRID = 4
"""Crops begin at multiples of this many pixels: an element of the flow."""
RADIUS_STEPS = 8
"""Radii are kept in steps of 1/8 pixel, up to 31 pixels."""

KEPT = ("blurred", "sharp", "flow_forward", "flow_backward")
GUESSED = ("forward", "backward")
CHECK = "check"
Guess = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Finds flow both ways, `(B, T-1, 2, h, w)` each, in clips `(B, T, 3, H, W)`."""


class Pool:
    """Random crops, mirrored, turned and reversed in time, from a folder of rendered clips.

    Clips are rendered when they are first drawn, and stay in the folder for later runs. The same
    seed gives the same batch whether its clips were there before or not.

    Args:
        source: renders the clips that are missing.
        folder: holds a subfolder for each kind of clip; several runs may share it.
        clips: number of different clips.
        crop: side of what a batch holds, in pixels, a multiple of 4.
        seed: of clip 0; clip i has seed + i.
        guess: finds the flow of blurred frames, for those that learn to do better; it is found once
            for each clip, and kept beside it.
    """

    def __init__(
        self,
        source: Rendered,
        folder: Path,
        clips: int,
        crop: int,
        seed: int,
        guess: Guess | None = None,
    ) -> None:
        self.source, self.clips, self.crop, self.seed = source, clips, crop, seed
        self.guess = guess
        self.folder = folder / fingerprint(
            source.config, source.textures, source.frames, source.side
        )
        self.folder.mkdir(parents=True, exist_ok=True)
        self.pixels_per_clip = source.frames * crop * crop

    def batch(self, clips: int, seed: int) -> Batch:
        """Draws clips: which, where, in which of eight orientations, and which way in time."""
        generator = torch.Generator().manual_seed(seed)

        draw = drawing(generator)
        places = (self.source.side - self.crop) // GRID + 1
        drawn = []
        for _ in range(clips):
            clip = self.clip(draw(self.clips))
            top, left, turn, back = draw(places) * GRID, draw(places) * GRID, draw(8), draw(2)
            clip = cropped(clip, top, left, self.crop)
            drawn.append(oriented(clip, turn, bool(back)))
        return joined(drawn)

    def clip(self, index: int) -> Batch:
        """Clip `index` of the pool as a batch of one, rendered now if it was not before."""
        path = self.folder / f"{index:06}.safetensors"
        kept = read(path, KEPT)
        if kept is None:
            self._render(index, path)
            kept = load_file(path)
        radius = kept.get("radius")
        clip = Batch(
            kept["blurred"].float() / 255,
            kept["sharp"].float() / 255,
            kept["flow_forward"].float(),
            kept["flow_backward"].float(),
            None if radius is None else radius.float() / RADIUS_STEPS,
        )
        if self.guess is None:
            return clip
        path = path.with_suffix(".guess.safetensors")
        found = read(path, GUESSED)
        if found is None:
            forward, backward = self.guess(clip.blurred)
            write(path, {"forward": forward.half(), "backward": backward.half()})
            found = load_file(path)
        guess = {f"guess_{name}": found[name].float() for name in GUESSED}
        return replace(clip, **guess)

    def _render(self, index: int, path: Path) -> None:
        made = self.source.batch(1, self.seed + index)
        if made.flow_forward is None or made.flow_backward is None:
            raise ValueError("a pool keeps the flow: its source must render it")
        tensors = {
            "blurred": (made.blurred * 255).round().to(torch.uint8),
            "sharp": (made.sharp * 255).round().to(torch.uint8),
            "flow_forward": made.flow_forward.half(),
            "flow_backward": made.flow_backward.half(),
        }
        if made.radius is not None:
            steps = (made.radius * RADIUS_STEPS).round()
            tensors["radius"] = steps.clamp(max=255).to(torch.uint8)
        write(path, tensors)


def read(path: Path, names: tuple[str, ...]) -> dict[str, Tensor] | None:
    """The tensors of a clip; None where the file is missing or damaged: then it is made anew."""
    if not path.is_file():
        return None
    try:
        with safe_open(path, "pt") as file:
            facts = file.metadata() or {}
            found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, KeyError):
        return None
    whole = facts.get(CHECK, "") in ("", check_of(path, found))  # older ones have none
    return found if whole and all(name in found for name in names) else None


def write(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Writes a file that appears under its name when it is complete."""
    part = path.with_suffix(f".{os.getpid()}.part")
    whole = {name: x.cpu().contiguous() for name, x in tensors.items()}
    save_file(whole, part, metadata={CHECK: check_of(path, whole)})
    sync(part)
    part.replace(path)


def check_of(path: Path, tensors: Mapping[str, Tensor]) -> str:
    """By which a clip is known to be as it was written, in the place that it was written to."""
    check = zlib.crc32(f"{path.parent.name}/{path.name}".encode())
    for name, x in sorted(tensors.items()):
        check = zlib.crc32(f"{name} {x.dtype} {tuple(x.shape)}".encode(), check)
        check = zlib.crc32(x.contiguous().view(-1).view(torch.uint8).numpy().data, check)
    return str(check)


def fingerprint(config: SceneConfig, textures: TextureBank, frames: int, side: int) -> str:
    """Name of the folder of clips that share everything but their seed."""
    facts = json.dumps([asdict(config), frames, side], sort_keys=True).encode()
    images = textures.images.cpu().numpy().tobytes()
    return hashlib.sha256(facts + hashlib.sha256(images).digest()).hexdigest()[:16]


def cropped(clip: Batch, top: int, left: int, side: int) -> Batch:
    """A square of all frames; `top`, `left` and `side` are multiples of 4."""

    def square(x: Tensor, pixels: int) -> Tensor:
        y, x0, n = top // pixels, left // pixels, side // pixels
        return x[..., y : y + n, x0 : x0 + n]

    return clip.mapped(lambda x: square(x, 1), lambda x: square(x, GRID))


def oriented(clip: Batch, turn: int, back: bool) -> Batch:
    """The clip mirrored and turned, and reversed in time where `back`.

    Args:
        clip: square frames.
        turn: 0 to 7, see `ops.turn`.
        back: last frame first.
    """
    if back:
        clip = clip.mapped(lambda x: x.flip(1), lambda x: x.flip(1))
        clip = replace(
            clip,
            flow_forward=clip.flow_backward,
            flow_backward=clip.flow_forward,
            guess_forward=clip.guess_backward,
            guess_backward=clip.guess_forward,
        )

    return clip.mapped(lambda x: turned(x, turn), lambda x: turned_flow(x, turn))


def joined(clips: list[Batch]) -> Batch:
    """One batch of several, with what all of them have."""

    def together(parts: list[Tensor | None]) -> Tensor | None:
        known = [x for x in parts if x is not None]
        return torch.cat(known) if len(known) == len(clips) else None

    return Batch(
        torch.cat([clip.blurred for clip in clips]),
        torch.cat([clip.sharp for clip in clips]),
        together([clip.flow_forward for clip in clips]),
        together([clip.flow_backward for clip in clips]),
        together([clip.radius for clip in clips]),
        together([clip.guess_forward for clip in clips]),
        together([clip.guess_backward for clip in clips]),
    )
