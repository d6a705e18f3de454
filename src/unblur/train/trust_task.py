"""trust-s: learns which changes of the networks that ship make a frame better."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, cached_property, partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unblur import weights
from unblur.metrics import psnr
from unblur.models import fit
from unblur.models.aligned import Aligned, begin_from
from unblur.models.interpolate import ALIGNED
from unblur.models.trust import Trust, TrustConfig
from unblur.train.batches import Batch
from unblur.train.focal_task import radius_of
from unblur.train.picture import write_grid
from unblur.train.recipe import Recipe
from unblur.train.source import held_out_clips
from unblur.train.tasks import guided, tuples
from unblur.weights.difference import load_whole

CELL = 16
"""Side of the places that are to get no worse, in pixels."""
LEAST = (0.7 / 255) ** 2
"""Mean square error that no eye sees: added, so that changes below it do not count."""
WORSE = 0.05
"""Loss of PSNR in dB from which on a frame counts as made worse."""
SHOWN = 4
"""Validation clips in the picture."""

Example = tuple[Tensor, Tensor, Tensor]
"""Frames as they came, as a network restored them, and the truth, (N, 3, H, W) each."""


class TrainTrust:
    """trust-s beside networks that are trained already; `restorers` in the options names them."""

    needs_flow = False
    takes_turns = False

    def __init__(self, recipe: Recipe, device: torch.device) -> None:
        options = tuples(recipe.options)
        self.restorers: Sequence[str] = options.pop("restorers", ("bsstnet-s",))
        self.recipe, self.device = recipe, device
        self.config = TrustConfig(**options)
        if unknown := set(self.restorers) - set(ALIGNED):
            raise ValueError(f"restorers: {', '.join(unknown)}: use {', '.join(ALIGNED)}")

    def network(self) -> nn.Module:
        """A network that trusts everything."""
        return Trust(self.config)

    def adapt(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """As they are."""
        return state

    def loss(self, network: nn.Module, batch: Batch, seed: int) -> Tensor:
        """Of one frame of each clip, restored by one of the networks."""
        generator = torch.Generator().manual_seed(seed)
        frame = int(torch.randint(batch.blurred.shape[1], (1,), generator=generator))
        name = self.restorers[int(torch.randint(len(self.restorers), (1,), generator=generator))]
        frames, restored, sharp = restore(name, batch, frame)
        with torch.autocast(frames.device.type, enabled=False):
            trust = network(frames, restored - frames)
            return change_of_error(frames, frames + trust * (restored - frames), sharp).mean()

    @cached_property
    def held_out(self) -> list[Example]:
        """Frames of clips of textures that no training sees, restored by each network in turn."""
        clips = held_out_clips(self.recipe, self.device, flows=False)
        middle = self.recipe.frames // 2
        names = self.restorers
        return [restore(names[i % len(names)], clip, middle) for i, clip in enumerate(clips)]

    def validate(self, network: nn.Module, folder: Path) -> dict[str, float]:
        """What trust adds to the gain of the networks, and how many frames get worse either way."""
        rows, gains = [], []
        for frames, restored, sharp in self.held_out:
            trust = network(frames, restored - frames)
            kept = frames + trust * (restored - frames)
            before, plain, after = (psnr(x, sharp, cap=50.0) for x in (frames, restored, kept))
            gains.append(torch.stack((plain - before, after - before), 1))  # (N, 2)
            rows.append([frames[0], restored[0], trust[0].expand(3, -1, -1), sharp[0]])
        write_grid(folder / "validation.png", rows[:SHOWN])
        plain, after = torch.cat(gains).unbind(1)
        return {
            "gain": float((after - plain).mean()),
            "plain": float(plain.mean()),
            "guarded": float(after.mean()),
            "plain_worse": float((plain < -WORSE).float().mean()),
            "guarded_worse": float((after < -WORSE).float().mean()),
        }


def change_of_error(before: Tensor, after: Tensor, sharp: Tensor) -> Tensor:
    """Logarithm of what became of the mean square error, place by place; negative is better.

    The mean over places of unlike error: where a frame was right, a small error counts as much as a
    large one where it was wrong.

    Args:
        before: (N, 3, H, W), what came.
        after: (N, 3, H, W), what goes out.
        sharp: (N, 3, H, W), the truth.

    Returns:
        (N, 1, H // 16, W // 16)
    """
    old, new = (
        F.avg_pool2d((x - sharp).square().mean(1, keepdim=True), CELL) for x in (before, after)
    )
    return ((new + LEAST) / (old + LEAST)).log()


@torch.no_grad()
def restore(name: str, batch: Batch, frame: int) -> Example:
    """One frame of each clip, restored as in use."""
    network = restorer(name, batch.blurred.device)
    clip, radius = batch, None
    if network.config.neighbours:
        clip = guided(batch, "dis", None)
        at = frame
    else:
        clip = Batch(batch.blurred[:, [frame]], batch.sharp[:, [frame]])
        at = 0
    if network.config.guided:
        radius = radius_of(clip, "coc-s", None)
    flows = clip.flow_forward, clip.flow_backward
    restored = network(clip.blurred, *flows, [at], radius)[:, 0].float().clamp(0, 1)
    return batch.blurred[:, frame], restored, batch.sharp[:, frame]


@cache
def restorer(name: str, device: torch.device) -> Aligned:
    """A network that ships, read once."""
    config = ALIGNED[name]
    path = weights.require(name, "they come with unblur: install it again")
    state = load_whole(path, partial(begin_from, config=config))
    return fit(Aligned(config), state, str(path)).to(device).requires_grad_(False)
