"""Is the recurrent network of flow refocusing worth its time? It learns beside what it stands on.

    python benchmarks/flow_refocus_training.py --textures BANK --pool POOL --runs DIR
        [--minutes M] [--pool-clips N] [--clips N] [--rows ROW ...]

Section 3.3 of DaBiT (arXiv 2407.01230), in small. All rows take M minutes of one thread of a CPU
from where they start, with the same seed, on the same rendered clips in the same order:

| row | what |
|---|---|
| as it ships | `flow-refocus-s`: what chooses among flows near by, no training |
| chooser, on | the same, which goes on learning |
| recurrent, on the chooser | the recurrent network before it, fresh; the chooser goes on, too |
| recurrent alone | the form of the paper: flow is taken out where frames are blurred, and made |

Time is the CPU's of that thread. Rendering is left out: clips of the pool that are missing are
rendered first. Errors are those of benchmarks/flow_refocus.py, with the true mask, of the flow of
DIS. Writes results/flow_refocus_training.csv and .md beside this file, in which rows of other
lengths stay. Runs stay in DIR, and those that are done are not done again: another length takes
another DIR.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import table
import torch
from equal_time import learned, options_of
from flow_refocus import accuracy

from unblur.guidance.flow import dis_flow
from unblur.guidance.flow_refocus import load_flow_refocus_s
from unblur.training import recipe as recipes

SHARED: Mapping[str, Any] = {"batch": 2, "validation_clips": 8, "average": 0.99}
ARMS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "chooser, on": ("flow-refocus-s", {}),
    "recurrent, on the chooser": ("flow-refocus", {"learning_rate": 1e-3}),
    "recurrent alone": (
        "flow-refocus",
        {"options": {"residual": False}, "start_from": None, "learning_rate": 1e-3},
    ),
}
"""Recipe of each row, and what it has otherwise."""


def main() -> None:
    parser = options_of(__doc__, ARMS)
    parser.add_argument(
        "--pool-clips", type=int, default=160, help="rendered clips to learn from (default: 160)"
    )
    parser.add_argument("--clips", type=int, default=24, help="scenes to measure (default: 24)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    nets = {"as it ships": load_flow_refocus_s()}
    facts: dict[str, dict[str, str]] = {"as it ships": {"steps": "0", "seconds": "0"}}
    arms = {
        name: replace(recipes.load(source), **{**SHARED, "pool": options.pool_clips, **changes})
        for name, (source, changes) in ARMS.items()
        if name in options.rows
    }
    for name, weights, found in learned(arms, options):
        nets[name] = load_flow_refocus_s(path=weights)
        facts[name] = {**found, "minutes": f"{options.minutes:g}", "clips": str(options.pool_clips)}
    for name, net in nets.items():
        facts[name]["parameters"] = f"{sum(x.numel() for x in net.parameters()):,}"
    rows = accuracy({"DIS": dis_flow}, nets, options.clips, worth=False)
    for row in rows:
        name = str(row["method"]).removeprefix("DIS, ").removesuffix(", true mask")
        row.update(facts.get(name, {}))
    table.write(
        "flow_refocus_training",
        f"Error of flow in pixels where the true radius is above 2; {options.clips} held-out scenes"
        " of 256x256; each row that learns took so many minutes of one thread, on so many clips, "
        f"seed 0. torch {torch.__version__}.",
        with_earlier(rows),
    )


def with_earlier(rows: Sequence[table.Row]) -> list[table.Row]:
    """Rows with those that other runs left, by the time that they took."""

    def key(row: table.Row) -> tuple[object, ...]:
        return row["method"], row.get("minutes", "")

    known = {key(row) for row in rows}
    earlier = table.earlier("flow_refocus_training", "method", [])
    kept = [row for row in earlier if key(row) not in known]
    return sorted([*kept, *rows], key=lambda row: float(str(row.get("minutes") or 0)))


if __name__ == "__main__":
    main()
