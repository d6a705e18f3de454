"""Tables of results, as files beside the benchmarks."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

RESULTS = Path(__file__).parent / "results"


def write(name: str, about: str, rows: Sequence[Mapping[str, object]]) -> None:
    """Writes `results/NAME.csv`, and `results/NAME.md` with `about` above the table; shows it.

    Columns are those of all rows, in the order in which they first occur.
    """
    head = list(dict.fromkeys(key for row in rows for key in row))
    RESULTS.mkdir(exist_ok=True)
    with open(RESULTS / f"{name}.csv", "w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, head)
        table.writeheader()
        table.writerows(rows)
    lines = [head, ["---"] * len(head), *([str(row.get(key, "")) for key in head] for row in rows)]
    text = "\n".join(["| " + " | ".join(cells) + " |" for cells in lines])
    text = f"{about}\n\n{text}\n"
    (RESULTS / f"{name}.md").write_text(text, encoding="utf-8")
    print(text)
