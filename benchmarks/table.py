"""Tables of results, as files beside the benchmarks."""

from __future__ import annotations

import csv
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

RESULTS = Path(__file__).parent / "results"

Row = Mapping[str, object]


def write(
    name: str,
    about: str,
    rows: Sequence[Row],
    shown: Sequence[Row] | None = None,
    show: bool = True,
) -> None:
    """Writes `results/NAME.csv`, and `results/NAME.md` with `about` above the table; shows that.

    Columns are those of all rows, in the order in which they first occur.

    Args:
        name: of the files.
        about: what was measured, and on what.
        rows: for programs.
        shown: for people, where those are to read something else.
        show: print the table too.
    """
    RESULTS.mkdir(parents=True, exist_ok=True)
    with open(RESULTS / f"{name}.csv", "w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, columns(rows), restval="")
        table.writeheader()
        table.writerows(rows)
    shown = rows if shown is None else shown
    head = columns(shown)
    lines = [head, ["---"] * len(head)]
    lines += [[str(row.get(key, "")) for key in head] for row in shown]
    text = "\n".join(["| " + " | ".join(cells) + " |" for cells in lines])
    text = f"{about}\n\n{text}\n"
    (RESULTS / f"{name}.md").write_text(text, encoding="utf-8")
    if show:
        print(text, flush=True)


def earlier(name: str, key: str, anew: Collection[str]) -> list[dict[str, str]]:
    """Rows of `results/NAME.csv` that an earlier run left, but those whose `key` is in `anew`."""
    path = RESULTS / f"{name}.csv"
    if not path.is_file():
        return []
    with open(path, newline="", encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if row[key] not in anew]


def columns(rows: Sequence[Row]) -> list[str]:
    """Names in all rows, in the order in which they first occur."""
    return list(dict.fromkeys(key for row in rows for key in row))
