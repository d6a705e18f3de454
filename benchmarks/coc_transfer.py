"""Does the encoder of a network that makes frames sharp tell the circle of confusion better?

    python benchmarks/coc_transfer.py --textures BANK --pool POOL --runs DIR
        [--minutes M] [--seeds N] [--rows ROW ...]

Tables 2 and 3 of Ruan et al. (Video Defocus Deblurring with Atlas Learning, SIGGRAPH 2024) in
small. All rows learn for M minutes of one thread of a CPU on the same rendered clips:

| row | what |
|---|---|
| transfer | the encoder of `motion-s`, frozen, and a new decoder: the recipe `coc-transfer` |
| the same, from scratch | the same network, all of it fresh |
| coc-s, from scratch | the small network that ships, fresh |
| coc-s as it ships | for comparison: 43 minutes |

Time is the CPU's, rendering left out. Errors are those of the diameter in pixels on the scenes of
held-out textures of benchmarks/guidance.py. Writes results/coc_transfer.csv and
results/coc_transfer.md beside this file; runs stay in DIR, and those
that are done are not done again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import table
import torch
from equal_time import learned, options_of
from guidance import SCENES, clips, errors, true_radius

from unblur import weights
from unblur.guidance.coc import COC_WEIGHTS, coc_radius, load_coc
from unblur.models.coc import CocNet
from unblur.synth import Rendered
from unblur.training import recipe as recipes

COUNT = 28
"""Scenes of each kind that errors are measured on."""
SHARED: Mapping[str, Any] = {"batch": 2, "pool": 160, "validation_clips": 1, "average": 0.98}
SCRATCH: Mapping[str, Any] = {"start_from": None, "rate_factors": {}}
ARMS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "transfer": ("coc-transfer", {}),
    "the same, from scratch": ("coc-transfer", SCRATCH),
    "coc-s, from scratch": ("coc-s", {}),
}
"""Recipe of each row, and what it has otherwise."""


def main() -> None:
    parser = options_of(__doc__, ARMS)
    parser.add_argument("--seeds", type=int, default=1, help="of each row (default: 1)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    scenes = {name: clips(config, COUNT) for name, config in SCENES.items()}
    rows = [{"row": "coc-s as it ships"} | measured(weights.require(COC_WEIGHTS, ""), scenes)]
    arms = {
        name: replace(recipes.load(source), **{**SHARED, **changes})
        for name, (source, changes) in ARMS.items()
        if name in options.rows
    }
    for seed in range(options.seeds):
        for name, found, facts in learned(arms, options, seed):
            rows.append({"row": name, "seed": str(seed)} | facts | measured(found, scenes))
            table.write(
                "coc_transfer",
                f"Diameter of the circle of confusion, px; {COUNT} clips of each kind; each row "
                f"learned for {options.minutes:g} minutes of one thread, from {SHARED['pool']} "
                f"clips. torch {torch.__version__}.",
                rows,
            )


def measured(path: Path, scenes: dict[str, list[Rendered]]) -> dict[str, str]:
    """Sizes, and errors on both kinds of scenes."""
    net = load_coc(path).eval()
    found = {"parameters": f"{count(net):,}", "of the decoder": f"{decoder_of(net):,}"}
    for kind, some in scenes.items():
        radius = torch.cat([coc_radius(net, clip.blurred[0]) for clip in some])
        figures = errors(radius, torch.cat([true_radius(clip) for clip in some]))
        short = kind.split()[0]
        found |= {f"{short}: {name}": f"{x:.3f}" for name, x in figures.items()}
    return found


def count(net: torch.nn.Module) -> int:
    """Numbers that a network has."""
    return sum(x.numel() for x in net.parameters())


def decoder_of(net: CocNet) -> int:
    """All but the encoder."""
    return count(net) - count(net.encoder)


if __name__ == "__main__":
    main()
