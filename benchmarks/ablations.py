"""The table of ablations, from what `unblur reproduce` trained.

    unblur reproduce bsstnet --table 5 --textures BANK --arm-minutes 5 --minutes M --out DIR
    python benchmarks/ablations.py bsstnet DIR --arm-minutes 5

Arms that are done go to results/ablations.csv, in place of those of the same paper, table and
minutes, and all of them to results/ablations.md: means over seeds, how far seeds lie apart, and
what an arm had gained after a quarter, a half and three quarters of its steps. That is on the way,
while the rate is still high: a run of so many minutes ends higher.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import table
from results_page import commit, cpu

ON_THE_WAY = ("25%", "50%", "75%")
CSV = table.RESULTS / "ablations.csv"
ABOUT = (
    "Narrow networks from scratch (`aligned`: that of `motion-s`, from its weights), each arm as "
    "many steps as fit into so many minutes of one thread of the CPU; 6 held-out clips of 256x256. "
    "Spread: largest less smallest gain over seeds; 25 to 75 %: gain on the way, mean over seeds. "
    "Trained by `unblur reproduce PAPER --table N --textures BANK --arm-minutes M --minutes MM "
    "--out DIR` (or `--peers`, `--aligned`), and put here by `python benchmarks/ablations.py PAPER "
    "DIR --arm-minutes M`."
)

Row = Mapping[str, str]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("paper", choices=["bsstnet", "dabit"])
    parser.add_argument("folder", type=Path, help="what `unblur reproduce` was given as --out")
    parser.add_argument("--arm-minutes", type=float, required=True, help="of each arm")
    parser.add_argument("--commit", default=commit(), help="that trained (default: this one)")
    options = parser.parse_args()
    source = f"{options.commit}, {cpu()}"
    found = measured(options.paper, options.folder, f"{options.arm_minutes:g}", source)
    kept = [row for row in read(CSV) if key(row) not in {key(row) for row in found}]
    rows = sorted([*kept, *found], key=lambda row: (*key(row)[:2], float(row["minutes"])))
    table.write("ablations", ABOUT, rows, over_seeds(rows))


def measured(paper: str, folder: Path, minutes: str, source: str) -> list[dict[str, str]]:
    """A row for each arm and seed that is done."""
    found = []
    for row in read(folder / "report.csv"):
        if row["source"] != "measured" or row.get("state", "done") != "done" or not row.get("arm"):
            continue
        gains = {
            f"at {share}": f"{float(value):.4f}"
            for name, value in row.items()
            if name.startswith("gain at ") and value and (share := quarter(name)) is not None
        }
        found.append(
            {
                "paper": paper,
                "part": row["part"],
                "minutes": minutes,
                "arm": row["arm"],
                "seed": row["seed"],
                "steps": row["steps"],
                "gain": f"{float(row['gain']):.4f}",
                **gains,
                "trained": source,
            }
        )
    return found


def quarter(name: str) -> str | None:
    """Of `gain at 26%`: the quarter that is meant, if it is one."""
    share = int(name.removeprefix("gain at ").removesuffix("%"))
    return next((near for near in ON_THE_WAY if abs(int(near[:-1]) - share) <= 1), None)


def over_seeds(rows: Sequence[Row]) -> list[dict[str, str]]:
    """Mean and spread of each arm."""
    arms: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        arms.setdefault((*key(row), row["arm"]), []).append(row)
    shown = []
    for (paper, part, minutes, arm), seeds in arms.items():
        gains = [float(row["gain"]) for row in seeds]
        way = {
            share: mean([float(row[f"at {share}"]) for row in seeds if row.get(f"at {share}")])
            for share in ON_THE_WAY
        }
        shown.append(
            {
                "paper": paper,
                "part": part,
                "minutes": minutes,
                "arm": arm,
                "steps": seeds[0]["steps"],
                "seeds": str(len(seeds)),
                "mean gain, dB": mean(gains),
                "spread": f"{max(gains) - min(gains):.3f}" if len(gains) > 1 else "",
                **way,
                "trained": seeds[0]["trained"],
            }
        )
    return shown


def mean(values: Sequence[float]) -> str:
    """Empty where there are none."""
    return f"{sum(values) / len(values):.3f}" if values else ""


def key(row: Row) -> tuple[str, str, str]:
    """What rows are compared within."""
    return row["paper"], row["part"], row["minutes"]


def read(path: Path) -> list[dict[str, str]]:
    """Rows of a table."""
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


if __name__ == "__main__":
    main()
