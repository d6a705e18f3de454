"""Do pixels that travel along the flow come closer to the truth? Choices of the release and ours.

    python benchmarks/propagation.py

Six rendered scenes of 288 x 192 whose focus moves, eight frames each; blurred is what has a circle
of confusion of more than a pixel's radius. PSNR of the replaced pixels, before and after, with the
true flow and with the flow that DIS finds on the blurred frames. A minute on one core.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from unblur.guidance.flow import dis_flow
from unblur.ops.propagation import propagate_pixels
from unblur.synth import SceneConfig, held_out, render, sample_scenes

SCENES = SceneConfig(
    mode="focus",
    noise=0.3,
    compressed=0.0,
    pull=1.0,
    in_focus=0.0,
    motion=(1.0, 8.0),
    static=0.0,
    repeated=0.0,
    reversed=0.0,
    highlights=0.0,
)
CHOICES: dict[str, dict[str, Any]] = {
    "release": {"mode": "nearest", "official": True},
    "edges and agreement": {"mode": "nearest", "similarity": None},
    "also between pixels": {"similarity": None},
    "also similarity (default)": {},
}


def main() -> None:
    scenes = sample_scenes(SCENES, held_out(), 6, torch.Generator().manual_seed(3))
    clip = render(scenes, 192, 288, 8, truth={"flow", "coc"})
    assert clip.coc is not None  # as requested
    assert clip.flow_forward is not None
    assert clip.flow_backward is not None
    mask = (clip.coc > 1).float()  # (B, T, 1, H, W)
    found = [dis_flow(frames, stride=1) for frames in clip.blurred]
    flows = {
        "true": (clip.flow_forward, clip.flow_backward),
        "DIS": tuple(torch.stack(each) for each in zip(*found, strict=True)),
    }

    def psnr(x: Tensor, where: Tensor) -> float:
        error = ((x - clip.sharp).square() * where).sum() / (3 * where.sum())
        return float(-10 * error.log10())

    print("| flow | choices | replaced | before | after |\n" + "|---" * 5 + "|")
    for name, flow in flows.items():
        for choices, options in CHOICES.items():
            out, left = propagate_pixels(clip.blurred, mask, *flow, **options)
            replaced = mask * (1 - left)
            print(
                f"| {name} | {choices} | {float(replaced.sum() / mask.sum()):.1%} "
                f"| {psnr(clip.blurred, replaced):.2f} | {psnr(out, replaced):.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
