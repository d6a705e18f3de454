"""The table of ablations, from what `unblur reproduce` trained.

    unblur reproduce bsstnet --table 5 --textures BANK --arm-minutes 5 --minutes M --out DIR
    python benchmarks/ablations.py bsstnet DIR --arm-minutes 5

    python benchmarks/ablations.py                        # the tables of docs/papers.md alone

Arms that are done go to results/ablations.csv, each in place of that of the same paper, table,
minutes, name and seed, and all of them to results/ablations.md and docs/papers.md: means over
seeds, how far seeds lie apart, and what an arm had gained after a quarter, a half and three
quarters of its steps. That is on the way, while the rate is still high: a run of so many minutes
ends higher. `trained` is what the report says, version, CPU and date, or the commit of `--commit`
in place of the version. Older reports do not say it: there it is `--commit`, or the one that is
checked out, and this CPU.
"""

from __future__ import annotations

import argparse
import csv
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import table
from results_page import commit as checked_out
from results_tables import line, plain

from unblur.reproduce import PAPERS
from unblur.reproduce.origin import TRAINED, cpu
from unblur.reproduce.parts import Train

ON_THE_WAY = ("25%", "50%", "75%")
CSV = table.RESULTS / "ablations.csv"
PAGE = Path(__file__).parents[1] / "docs" / "papers.md"
PLACE = re.compile(
    r"(<!-- arms of (\w+), ([\w ]+), ([\d.]+) minutes: begin -->)"
    r"(?:(?!<!--).)*(<!-- arms: end -->)",
    re.DOTALL,
)
"""Where a table of arms stands in the page: its paper, part and minutes."""
ABOUT = (
    "Narrow networks from scratch (part `aligned`: `motion-s` trained on), each arm as "
    "many steps as fit into so many minutes of one thread of the CPU; 6 held-out clips of 256x256. "
    "Spread: largest less smallest gain over seeds; 25 to 75 %: gain on the way, mean over seeds. "
    "Trained by `unblur reproduce PAPER --table N --textures BANK --arm-minutes M --minutes MM "
    "--out DIR` (or `--peers`, `--aligned`), and put here by `python benchmarks/ablations.py PAPER "
    "DIR --arm-minutes M`."
)

Row = Mapping[str, str]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("paper", choices=["bsstnet", "dabit"], nargs="?")
    parser.add_argument(
        "folder", type=Path, nargs="?", help="what `unblur reproduce` was given as --out"
    )
    parser.add_argument("--arm-minutes", type=float, help="of each arm")
    parser.add_argument("--commit", help="that trained (default: what the report says)")
    options = parser.parse_args()
    rows = read(CSV)
    if options.paper is not None:
        if options.folder is None or options.arm_minutes is None:
            parser.error("name a folder and --arm-minutes, too")
        if not (options.folder / "report.csv").is_file():
            parser.error(f"no report.csv in {options.folder}: is it an --out of unblur reproduce?")
        minutes = f"{options.arm_minutes:g}"
        rows = merged(rows, measured(options.paper, options.folder, minutes, options.commit))
        rows.sort(key=lambda row: (*key(row)[:2], float(row["minutes"])))
        table.write("ablations", ABOUT, rows, over_seeds(rows))
    PAGE.write_text(on_page(PAGE.read_text(encoding="utf-8"), rows), encoding="utf-8")


def on_page(text: str, rows: Sequence[Row]) -> str:
    """The page with its tables of arms made anew."""
    places = PLACE.findall(text)
    if len(places) != text.count("<!-- arms of ") or len(places) != text.count("<!-- arms: end"):
        raise SystemExit("docs/papers.md: each `<!-- arms of ...: begin -->` needs its own end")

    def made(place: re.Match[str]) -> str:
        begin, paper, part, minutes, end = place.groups()
        arms: dict[str, list[Row]] = {}
        for row in rows:
            if key(row) == (paper, part, minutes):
                arms.setdefault(row["arm"], []).append(row)
        if not arms:
            raise SystemExit(f"docs/papers.md: no arms of {paper}, {part}, {minutes} minutes")
        lines = [of_arm(arm, what_is(paper, part, arm), seeds) for arm, seeds in arms.items()]
        head = "| arm | what | steps | mean gain, dB | seeds | after a quarter, half, three |"
        return "\n".join([begin, "", head, "|---|---|---|---|---|---|", *lines, "", end])

    return PLACE.sub(made, text)


def of_arm(arm: str, what: str, rows: Sequence[Row]) -> str:
    """A line of the page: an arm over its seeds."""
    rows = sorted(rows, key=lambda row: int(row["seed"]))
    steps = ", ".join(dict.fromkeys(row["steps"] for row in rows))
    gains = [float(row["gain"]) for row in rows]
    way = [on_the_way(rows, share) for share in ON_THE_WAY]
    cells = [arm, what, steps, f"**{plain(mean(gains))}**"]
    cells += [
        ", ".join(plain(f"{gain:.3f}") for gain in gains),
        ", ".join(map(plain, filter(None, way))),
    ]
    return line(*cells)


def what_is(paper: str, part: str, arm: str) -> str:
    """An arm in words."""
    steps = [step for one in PAPERS[paper] if one.name == part for step in one.steps]
    return next((x.what for x in steps if isinstance(x, Train) and x.arm == arm), "")


def merged(stored: Sequence[Row], found: Sequence[Row]) -> list[Row]:
    """Rows in their places, those of the same arm and seed anew, and others behind them."""
    rows = {(*key(row), row["arm"], row["seed"]): row for row in stored}
    rows |= {(*key(row), row["arm"], row["seed"]): row for row in found}
    return list(rows.values())


def measured(paper: str, folder: Path, minutes: str, commit: str | None) -> list[dict[str, str]]:
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
                "trained": trained(row, commit),
            }
        )
    return found


def trained(row: Row, commit: str | None) -> str:
    """By what, on what and when; older reports do not say it."""
    date, on, by = (row.get(name) for name in TRAINED)
    if not on:
        return f"{commit or checked_out()}, {cpu()}"
    return f"{commit or by}, {on}, {date}"


def quarter(name: str) -> str | None:
    """Of `gain at 26%`: the quarter that is meant, if it is one."""
    share = int(name.removeprefix("gain at ").removesuffix("%"))
    return next((near for near in ON_THE_WAY if abs(int(near[:-1]) - share) <= 2), None)


def over_seeds(rows: Sequence[Row]) -> list[dict[str, str]]:
    """Mean and spread of each arm."""
    arms: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        arms.setdefault((*key(row), row["arm"]), []).append(row)
    shown = []
    for (paper, part, minutes, arm), seeds in arms.items():
        gains = [float(row["gain"]) for row in seeds]
        way = {share: on_the_way(seeds, share) for share in ON_THE_WAY}
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
                "trained": "; ".join(dict.fromkeys(row["trained"] for row in seeds)),
            }
        )
    return shown


def on_the_way(rows: Sequence[Row], share: str) -> str:
    """Mean gain after a part of the steps, where it is known."""
    return mean([float(row[f"at {share}"]) for row in rows if row.get(f"at {share}")])


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
