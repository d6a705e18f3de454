"""The tables of pages that are made from stored results, and the storing of them.

    python benchmarks/results_page.py                     # writes the tables from what is stored
    python benchmarks/results_page.py --run NAME synth-motion --model motion-m
    python benchmarks/results_page.py --again NAME        # the same command: are the digits equal?
    python benchmarks/results_page.py --again NAME --clips 2   # the same of its first clips alone

Tables are those of all rows in docs/results.md, and those of results_tables.py in several pages.
`--run` measures as `unblur evaluate` does and stores results/suites/NAME.json: means and rows, with
the command, the commit, the CPU, the load of the machine before and the date. Paths become
the names of their folders. `--again` measures anew and compares, time aside; it ends with 1 where
a figure differs by more than its column shows.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from results_tables import PAGES, line, with_tables

from unblur import __version__
from unblur.cli import main as unblur
from unblur.evaluation.scores import COLUMNS
from unblur.reproduce.origin import cpu

ROOT = Path(__file__).parents[1]
STORE = ROOT / "benchmarks" / "results" / "suites"
PAGE = ROOT / "docs" / "results.md"
BEGIN = "<!-- made by benchmarks/results_page.py: begin -->"
END = "<!-- made by benchmarks/results_page.py: end -->"
SHOWN = ("psnr", "gain", "ssim", "tof", "detail", "sharpness", "mesh", "worse", "seconds")
DIGITS = 9
OTHER_DIGITS = 3
"""After the point, of columns that are not those of restored frames."""
KEPT = ("suite", "version", "facts", "left_out", "means", "rows", "clips", "parameters")

Stored = Mapping[str, Any]


def measured(words: Sequence[str]) -> dict[str, Any]:
    """What `unblur evaluate` finds.

    Raises:
        SystemExit: it fails; it has said why.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "result.json"
        code = unblur(["evaluate", *words, "--json", str(file)])
        if code:
            raise SystemExit(code)
        return json.loads(file.read_text(encoding="utf-8"))


def stored(name: str, words: Sequence[str], result: Mapping[str, Any]) -> dict[str, Any]:
    """A result with what it takes to make it again."""
    kept = {key: result[key] for key in KEPT if key in result}
    return {
        "name": name,
        "command": " ".join(("unblur evaluate", *map(named, words))),
        "commit": commit(),
        "cpu": cpu(),
        "load": round(os.getloadavg()[0], 1),
        "date": datetime.date.today().isoformat(),
        "result": shortened(kept),
    }


def named(word: str) -> str:
    """A path becomes the name of its folder: where it was does not matter."""
    layout, colon, rest = word.rpartition(":")
    return layout + colon + Path(rest).name if "/" in rest else word


def shortened(value: Any) -> Any:
    """With a few digits after the point, and names in place of paths."""
    if isinstance(value, Mapping):
        return {key: shortened(item) for key, item in value.items()}
    if isinstance(value, list):
        return [shortened(item) for item in value]
    if isinstance(value, float):
        return round(value, DIGITS)
    return named(value) if isinstance(value, str) and value.startswith("/") else value


def commit() -> str:
    """The commit of the sources and whether they differ from it; outside of a clone the version."""

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", *words], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        changed = bool(git("status", "--porcelain", "--untracked-files=no", "src"))
        return git("rev-parse", "--short=7", "HEAD") + (" with changes" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return f"unblur {__version__}"


def store(item: Stored) -> None:
    """Keeps a result."""
    STORE.mkdir(parents=True, exist_ok=True)
    text = json.dumps(item, indent=1) + "\n"
    (STORE / f"{item['name']}.json").write_text(text, encoding="utf-8")


def all_stored() -> list[dict[str, Any]]:
    """Everything that is kept, by name."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(STORE.glob("*.json"))]


def tables(items: Sequence[Stored]) -> str:
    """Figures of restored frames, other suites one by one, and where each row is from."""
    head = ["row", "suite", "method", *(COLUMNS[name][0] for name in SHOWN)]
    lines = [head, ["---", "---", "---", *["---:"] * len(SHOWN)]]
    others: dict[str, list[Stored]] = {}
    for item in items:
        suite, means = suite_of(item), item["result"]["means"]
        if "sharpness" not in means[0]:
            others.setdefault(item["result"]["suite"], []).append(item)
            continue
        for row in means:
            lines.append([item["name"], suite, f"`{row['method']}`", *figures(row)])
    sources = [
        ["row", "command", "commit", "CPU", "load", "date"],
        ["---"] * 6,
    ]
    for item in items:
        load = "not noted" if item["load"] is None else f"{item['load']}"
        sources.append(
            [item["name"], f"`{item['command']}`", item["commit"], item["cpu"], load, item["date"]]
        )
    return "\n\n".join(joined(part) for part in (lines, *map(of_suite, others.values()), sources))


def of_suite(items: Sequence[Stored]) -> list[list[str]]:
    """A table of one suite with columns of its own: flow, circles of confusion, layers."""
    rows = [(item, row) for item in items for row in item["result"]["means"]]
    names = [name for name in rows[0][1] if name not in ("clip", "method")]
    lines = [["row", "suite", "method", *names], ["---"] * 3 + ["---:"] * len(names)]
    for item, row in rows:
        cells = ["" if row.get(n) is None else f"{row[n]:.{OTHER_DIGITS}f}" for n in names]
        lines.append([item["name"], suite_of(item), f"`{row['method']}`", *cells])
    return lines


def suite_of(item: Stored) -> str:
    """The suite, its version, how many clips if not all, and what those went through."""
    result = item["result"]
    facts = result["facts"]
    more = [f"crf {facts['encoded'].rpartition(' ')[2]}"] if "encoded" in facts else []
    more += [f"{facts['frames']} frames"] if isinstance(facts.get("frames"), int) else []
    more += [f"{len(result['clips'])} clips"] if "--limit" in item["command"].split() else []
    return ", ".join([f"{result['suite']} {result['version']}", *more])


def figures(row: Mapping[str, Any]) -> list[str]:
    """A row's numbers as its columns show them."""
    return ["" if row.get(n) is None else f"{row[n]:.{COLUMNS[n][1]}f}" for n in SHOWN]


def joined(lines: Sequence[Sequence[str]]) -> str:
    """Lines of cells as Markdown."""
    return "\n".join(line(*cells) for cells in lines)


def page(text: str, items: Sequence[Stored]) -> str:
    """The page with its tables made anew."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"docs/results.md lacks the lines {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{tables(items)}\n\n{END}{after}"


def pages(items: Sequence[Stored]) -> dict[Path, str]:
    """All pages with tables of stored figures, these made anew."""
    found = {
        path: with_tables(path.read_text(encoding="utf-8"), some, items, path.name)
        for path, some in PAGES.items()
    }
    return found | {PAGE: page(found[PAGE], items)}


def differences(
    old: Mapping[str, Any], new: Mapping[str, Any], clips: int | None = None
) -> list[str]:
    """Means that differ by more than their column shows, time aside.

    Args:
        old: a result.
        new: another one.
        clips: compare the rows of so many clips instead, for these alone were measured anew.
    """
    kind = "means" if clips is None else "rows"
    anew = {(row["clip"], row["method"]): row for row in new[kind]}
    names = [*dict.fromkeys(row["clip"] for row in old[kind])][:clips]
    found = []
    for row in old[kind]:
        if row["clip"] not in names:
            continue
        other = anew.get((row["clip"], row["method"]))
        for name, old_value in row.items():
            if name in ("clip", "method", "seconds") or old_value is None:
                continue
            heading, decimals = COLUMNS.get(name, (name, OTHER_DIGITS))
            value = None if other is None else other.get(name)
            if value is None or abs(value - old_value) > 10.0**-decimals:
                where = row["method"] if clips is None else f"clip {row['clip']}, {row['method']}"
                found.append(f"{where}: {heading} was {old_value}, is {value}")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", metavar="NAME", help="measure, and store as NAME")
    parser.add_argument("--again", metavar="NAME", help="measure anew what is stored as NAME")
    parser.add_argument("--clips", type=int, metavar="N", help="--again with the first N alone")
    chosen, words = parser.parse_known_args()
    if chosen.clips is not None and (not chosen.again or chosen.clips < 1):
        parser.error("--clips goes with --again, and is at least 1")
    if chosen.run:
        if not re.fullmatch(r"[\w-]+", chosen.run):
            parser.error(f"'{chosen.run}' can be no name: take letters, digits and hyphens")
        store(stored(chosen.run, words, measured(words)))
    elif chosen.again:
        items = {item["name"]: item for item in all_stored()}
        if chosen.again not in items:
            parser.error(f"no row {chosen.again}: there are {', '.join(items)}")
        item = items[chosen.again]
        words = words or item["command"].split()[2:]
        words = [*words, *(["--limit", str(chosen.clips)] if chosen.clips else [])]
        different = differences(item["result"], measured(words), chosen.clips)
        print("\n".join(different) or "the same digits")
        return 1 if different else 0
    elif words:
        parser.error(f"what is {words[0]}? Words of `unblur evaluate` go with --run or --again")
    for path, text in pages(all_stored()).items():
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
