"""What is known of a paper's tables and figures, as Markdown and as CSV."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from unblur.reproduce.origin import TRAINED
from unblur.reproduce.parts import Known, Row, Script, State, Step, Train, named

LEFT_OUT = ("clip", *TRAINED)
"""Columns of the CSV file alone."""


def as_markdown(paper: str, found: Sequence[Known], images: Path) -> str:
    """What each needs, and then each with what was found and what is published.

    Args:
        paper: its name.
        found: its tables and figures.
        images: folder of images, beside the page; those that are there are named.
    """
    lines = [f"# {paper}: tables and figures", "", overview(found)]
    for known in found:
        lines += ["", f"## {known.part.name}: {known.part.what}", ""]
        if known.part.note:
            lines += [known.part.note, ""]
        for step, state in known.steps:
            if isinstance(step, Train):
                continue  # all arms stand in one table
            lines += [f"{step.what}: {state.state}.", ""]
            if state.rows:
                lines += [table(state.rows), ""]
            elif isinstance(step, Script) and state.state == "done":
                lines += [f"What it printed: `{step.name}/output.txt`.", ""]
        arms = [(step, state) for step, state in known.steps if isinstance(step, Train)]
        lines += [f"- {arm}: {states}" for arm, states in states_of(arms)]
        lines += [""] * bool(arms)
        trained = [{**row, "state": state.state} for _, state in arms for row in state.rows]
        if trained:
            lines += [table(trained), ""]
        if done := [row for row in trained if row["state"] == "done"]:
            lines += ["Over seeds:", "", table(over_seeds(done)), ""]
        there = sorted(images.glob(known.part.images)) if known.part.images else []
        if there:
            lines += [", ".join(f"`{images.name}/{path.name}`" for path in there), ""]
        if known.part.published:
            lines += ["Published, not measured here:", "", table(known.part.published)]
    return "\n".join(lines).rstrip() + "\n"


def overview(found: Sequence[Known]) -> str:
    """A row for each step, in the order in which they are run, an arm with all its seeds as one;
    then what is missing, each once, and how to get it.
    """
    text = table(
        [
            {"part": known.part.name, "step": what, "state": state}
            for known in found
            for what, state in states_of(known.steps)
        ]
    )
    needs = dict.fromkeys(
        f"- {need.name}: {need.remedy}"
        for known in found
        for _, state in known.steps
        for need in state.missing
    )
    return "\n".join([text, "", "Missing:", "", *needs]) if needs else text


def states_of(steps: Sequence[tuple[Step, State]]) -> list[tuple[str, str]]:
    """Each step, or each arm over its seeds, and where it is."""
    found: dict[str, list[str]] = {}
    for step, state in steps:
        found.setdefault(named(step), []).append(state.state)
    return [(what, over_all(states)) for what, states in found.items()]


def over_all(states: Sequence[str]) -> str:
    """The states of an arm's seeds as one.

    >>> over_all(["done", "begun", "to run", "to run"])
    '1 done, 1 begun, 2 to run'
    """
    counts = Counter(states)
    if len(counts) > 1:
        return ", ".join(f"{count} {state}" for state, count in counts.items())
    seeds = len(states) > 1 and not states[0].startswith("missing")
    return f"{states[0]}, {len(states)} seeds" if seeds else states[0]


def can_be_run(found: Sequence[Known]) -> list[str]:
    """Names of the tables and figures of which something can be run."""
    return [known.part.name for known in found if any(state.open for _, state in known.steps)]


def failures(found: Sequence[Known]) -> list[str]:
    """What ended with an error, each once, and why."""
    return list(
        {
            step.name: f"{known.part.name}: {named(step)} {state.state}"
            for known in found
            for step, state in known.steps
            if state.failed
        }.values()
    )


def over_seeds(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Mean gain of each arm, and how far its seeds lie apart."""
    gains: dict[str, list[float]] = {}
    for row in rows:
        gains.setdefault(row["arm"], []).append(row["gain"])
    return [
        {
            "arm": arm,
            "seeds": len(found),
            "mean gain": sum(found) / len(found),
            "spread": max(found) - min(found),
        }
        for arm, found in gains.items()
    ]


def as_csv(found: Sequence[Known]) -> str:
    """Every row, measured and published, one below the other."""
    every: list[dict[str, Any]] = []
    for known in found:
        for step, state in known.steps:
            head = {
                "part": known.part.name,
                "source": "measured",
                "step": step.name,
                "state": state.state,
            }
            every += [{**head, **row} for row in state.rows]
        head = {"part": known.part.name, "source": "published", "step": ""}
        every += [{**head, **row} for row in known.part.published]
    text = io.StringIO()
    names = dict.fromkeys(["part", "source", "step", "state"])
    names.update(dict.fromkeys(name for row in every for name in row))
    writer = csv.DictWriter(text, list(names), restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(every)
    return text.getvalue()


def table(rows: Sequence[Row]) -> str:
    """Rows as Markdown; columns in the order in which they first occur."""
    names = [n for n in dict.fromkeys(n for row in rows for n in row) if n not in LEFT_OUT]
    lines = [names, ["---"] * len(names)]
    lines += [[cell(row.get(name, "")) for name in names] for row in rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def cell(value: Any) -> str:
    """A value as it is read: dB with two digits, shares and SSIM with four."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4f}" if abs(value) < 1 else f"{value:.2f}"
    return " ".join(str(value).split()).replace("|", "\\|")
