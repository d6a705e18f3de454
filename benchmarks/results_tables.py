"""Tables of pages and model cards whose figures are stored, with `{row/method/column}` for each.

`results_page.py` puts them between `<!-- table NAME: begin -->` and `<!-- table NAME: end -->` of
the page, figures in place of the braces. `row` is a stored row of docs/results.md, or `focus_cases,
CASE` of results/focus_cases.csv. `{gopro-pairs/motion-m/gain without gopr0477}` is the mean over
the clips whose names do not begin so.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from unblur.evaluation.scores import COLUMNS

ROOT = Path(__file__).parents[1]
CASES = ROOT / "benchmarks" / "results" / "focus_cases.csv"
FIGURE = re.compile(r"\{([^/{}]+)/([^/{}]+)/([^/{}]+?)(?: without (\w+))?\}")
OTHER_DECIMALS = {"mean": 3, "flow": 3, "visible": 3, "rmse": 2, "gain, dB": 2, "kept, dB": 1}
"""Of columns that are not those of restored frames."""

FOOTAGE = """
| what | input | gain | tOF, input's | % worse | mesh, input's |
|---|---|---|---|---|---|
| `synth-motion`, clean, `motion-m` | {motion/input/psnr} | **{motion/motion-m/gain}** | {motion/motion-m/tof}, {motion/input/tof} | {motion/motion-m/worse} | {motion/motion-m/mesh}, {motion/input/mesh} |
| crf 23 | {motion-crf23/input/psnr} | **{motion-crf23/motion-m/gain}** | {motion-crf23/motion-m/tof}, {motion-crf23/input/tof} | {motion-crf23/motion-m/worse} | {motion-crf23/motion-m/mesh}, {motion-crf23/input/mesh} |
| crf 29 | {motion-crf29/input/psnr} | **{motion-crf29/motion-m/gain}** | {motion-crf29/motion-m/tof}, {motion-crf29/input/tof} | {motion-crf29/motion-m/worse} | {motion-crf29/motion-m/mesh}, {motion-crf29/input/mesh} |
| GoPro, 11 pairs of one frame, `motion-m`; seven of frames that our training did not use | {gopro-pairs/input/psnr} | **{gopro-pairs/motion-m/gain}**; {gopro-pairs/motion-m/gain without gopr0477_11_00_f1} | | {gopro-pairs/motion-m/worse} | {gopro-pairs/motion-m/mesh}, {gopro-pairs/input/mesh} |
| DAVIS, means of five real frames, `motion-m` | {real-5/input/psnr} | **{real-5/motion-m/gain}** | | {real-5/motion-m/worse} | {real-5/motion-m/mesh}, {real-5/input/mesh} |
| `synth-focus`, clean, `focus-m` | {focus/input/psnr} | **{focus/focus-m/gain}** | {focus/focus-m/tof}, {focus/input/tof} | {focus/focus-m/worse} | {focus/focus-m/mesh}, {focus/input/mesh} |
| crf 23 | {focus-crf23/input/psnr} | **{focus-crf23/focus-m/gain}** | {focus-crf23/focus-m/tof}, {focus-crf23/input/tof} | {focus-crf23/focus-m/worse} | {focus-crf23/focus-m/mesh}, {focus-crf23/input/mesh} |
| crf 29 | {focus-crf29/input/psnr} | **{focus-crf29/focus-m/gain}** | {focus-crf29/focus-m/tof}, {focus-crf29/input/tof} | {focus-crf29/focus-m/worse} | {focus-crf29/focus-m/mesh}, {focus-crf29/input/mesh} |
"""

MOTION = """
| what | input | `motion-m` | `motion-s` | `maxim-stage1` | Wiener, true blur |
|---|---|---|---|---|---|
| `synth-motion`, clean | {motion/input/psnr} | **{motion/motion-m/gain}** | {motion-s/motion-s/gain} | | {motion/wiener/gain} |
| its sharpest quarter | | **{motion/motion-m/sharpest_quarter}** | {motion-s/motion-s/sharpest_quarter} | | {motion/wiener/sharpest_quarter} |
| detail, sharpness (1 is right) | {motion/input/detail}, {motion/input/sharpness} | **{motion/motion-m/detail}, {motion/motion-m/sharpness}** | {motion-s/motion-s/detail}, {motion-s/motion-s/sharpness} | | {motion/wiener/detail}, {motion/wiener/sharpness} |
| flicker: tOF, px | {motion/input/tof} | **{motion/motion-m/tof}** | {motion-s/motion-s/tof} | | {motion/wiener/tof} |
| crf 23 | {motion-crf23/input/psnr} | **{motion-crf23/motion-m/gain}** | {motion-s-crf23/motion-s/gain} | | {motion-crf23/wiener/gain} |
| crf 29 | {motion-crf29/input/psnr} | **{motion-crf29/motion-m/gain}** | {motion-s-crf29/motion-s/gain} | | {motion-crf29/wiener/gain} |
| its first four clips, clean | {maxim-motion/input/psnr} | **{maxim-motion/motion-m/gain}** | | {maxim-motion/maxim-stage1/gain} | {maxim-motion/wiener/gain} |
| crf 23 | {maxim-motion-crf23/input/psnr} | **{maxim-motion-crf23/motion-m/gain}** | | {maxim-motion-crf23/maxim-stage1/gain} | {maxim-motion-crf23/wiener/gain} |
| `synth-joint`: motion and focus | {joint/input/psnr} | **{joint/motion-m/gain}** | {joint/motion-s/gain} | | {joint/wiener/gain} |
| `real-average`, five real frames | {real-5/input/psnr} | **{real-5/motion-m/gain}** | {real-5/motion-s/gain} | {real-5/maxim-stage1/gain} | |
| detail, sharpness there | {real-5/input/detail}, {real-5/input/sharpness} | **{real-5/motion-m/detail}, {real-5/motion-m/sharpness}** | {real-5/motion-s/detail}, {real-5/motion-s/sharpness} | {real-5/maxim-stage1/detail}, {real-5/maxim-stage1/sharpness} | |
"""

FOCUS = """
| what | input | `focus-m` | given the true radius | `focus-s` | given the true radius | `motion-s` |
|---|---|---|---|---|---|---|
| `synth-focus`, clean | {focus/input/psnr} | **{focus/focus-m/gain}** | | {focus-others/focus-s/gain} | | {focus-others/motion-s/gain} |
| frames that are blurred | | **{focus/focus-m/other_frames}** | | {focus-others/focus-s/other_frames} | | {focus-others/motion-s/other_frames} |
| sharpest quarter | | **{focus/focus-m/sharpest_quarter}** | | {focus-others/focus-s/sharpest_quarter} | | {focus-others/motion-s/sharpest_quarter} |
| flicker: tOF, px | {focus/input/tof} | **{focus/focus-m/tof}** | | {focus-others/focus-s/tof} | | {focus-others/motion-s/tof} |
| crf 23 | {focus-crf23/input/psnr} | **{focus-crf23/focus-m/gain}** | | {focus-s-crf23/focus-s/gain} | | |
| crf 29 | {focus-crf29/input/psnr} | **{focus-crf29/focus-m/gain}** | | | | |
| its first 12 clips, clean | {focus-guided/input/psnr} | {focus-guided/focus-m/gain} | **{focus-guided/focus-m@coc/gain}** | {focus-guided/focus-s/gain} | {focus-guided/focus-s@coc/gain} | |
| sharpest quarter of those | | {focus-guided/focus-m/sharpest_quarter} | **{focus-guided/focus-m@coc/sharpest_quarter}** | {focus-guided/focus-s/sharpest_quarter} | {focus-guided/focus-s@coc/sharpest_quarter} | |
| all of the frame 2 px out of focus | {focus_cases, radius 2/focus-m/input, dB} | {focus_cases, radius 2/focus-m/gain, dB} | **{focus_cases, radius 2/focus-m@coc/gain, dB}** | {focus_cases, radius 2/focus-s/gain, dB} | {focus_cases, radius 2/focus-s@coc/gain, dB} | {focus_cases, radius 2/motion-s/gain, dB} |
| 4 px | {focus_cases, radius 4/focus-m/input, dB} | **{focus_cases, radius 4/focus-m/gain, dB}** | {focus_cases, radius 4/focus-m@coc/gain, dB} | {focus_cases, radius 4/focus-s/gain, dB} | {focus_cases, radius 4/focus-s@coc/gain, dB} | {focus_cases, radius 4/motion-s/gain, dB} |
| 6 px | {focus_cases, radius 6/focus-m/input, dB} | **{focus_cases, radius 6/focus-m/gain, dB}** | {focus_cases, radius 6/focus-m@coc/gain, dB} | {focus_cases, radius 6/focus-s/gain, dB} | {focus_cases, radius 6/focus-s@coc/gain, dB} | {focus_cases, radius 6/motion-s/gain, dB} |
| motion blur in focus, kept as filmed: PSNR to the input | | {focus_cases, motion, in focus/focus-m/kept, dB} | **{focus_cases, motion, in focus/focus-m@coc/kept, dB}** | {focus_cases, motion, in focus/focus-s/kept, dB} | {focus_cases, motion, in focus/focus-s@coc/kept, dB} | {focus_cases, motion, in focus/motion-s/kept, dB} |
| DAVIS-Blur, the paper's setting | {davis-blur/input/psnr} | **{davis-blur/focus-m/gain}** | | {davis-blur-s/focus-s/gain} | | |
| by night, 12 clips | {lowlight/input/psnr} | **{lowlight/focus-m/gain}** | | {lowlight-s/focus-s/gain} | | |
| twice the size, over bicubic, 12 clips | {focus-x2/bicubic/psnr} | **{focus-x2/focus-m/gain}** | | {focus-x2-s/focus-s/gain} | | |
"""

GUIDANCE = """
| what | found | beside it |
|---|---|---|
| flow of blurred frames, end-point error in px | `flow-s` {flow/flow-s/mean} | DIS {flow/dis/mean} |
| the same, encoded at crf 23 and 29 | `flow-s` {flow-crf23/flow-s/mean}, {flow-crf29/flow-s/mean} | DIS {flow-crf23/dis/mean}, {flow-crf29/dis/mean} |
| diameter of the circle of confusion, RMSE in px | `coc-m` {coc/coc-m/rmse}, `coc-s` {coc/coc-s/rmse} | energy of details {coc/details/rmse} |
| the same, encoded at crf 23 and 29 | `coc-m` {coc-crf23/coc-m/rmse}, {coc-crf29/coc-m/rmse}, `coc-s` {coc-crf23/coc-s/rmse}, {coc-crf29/coc-s/rmse} | energy of details {coc-crf23/details/rmse}, {coc-crf29/details/rmse} |
"""

PEER_ROWS = ("peers-motion", "peers-motion-crf23", "peers-focus", "peers-focus-crf23")
LATER_ROWS = ("maxim-motion", "maxim-motion-crf23", None, None)
FOCUS_ROWS = (None, None, *PEER_ROWS[2:])


def peer(what: str, method: str, rows: Sequence[str | None] = PEER_ROWS) -> str:
    """A line of the table of peers: gains of a method."""
    cells = ["" if row is None else f"{{{row}/{method}/gain}}" for row in rows]
    return line(what, *cells)


def line(*cells: str) -> str:
    """Cells as Markdown."""
    return f"| {' | '.join(cells)} |"


PEERS = "\n".join(
    (
        "| | `synth-motion` | crf 23 | `synth-focus` | crf 23 |",
        "|---|---|---|---|---|",
        line("input", *(f"{{{row}/input/psnr}} dB" for row in PEER_ROWS)),
        peer("`unsharp`", "unsharp"),
        peer("`ffmpeg-unsharp`", "ffmpeg-unsharp"),
        peer("`ffmpeg-cas`", "ffmpeg-cas"),
        peer("`burst`", "burst"),
        peer("`wiener`, estimated blur", "wiener, estimated blur"),
        peer("`richardson-lucy`, estimated blur", "richardson-lucy, estimated blur"),
        peer("`wiener`, true blur", "wiener"),
        peer("`richardson-lucy`, true blur", "richardson-lucy"),
        peer("`maxim-stage1`", "maxim-stage1"),
        peer("`maxim-3s`, as converted", "maxim-3s", LATER_ROWS),
        peer("`motion-m`", "motion-m", LATER_ROWS),
        peer("`focus-m`", "focus-m", FOCUS_ROWS),
    )
)

ATLAS = """
| three clips | PSNR | gain | out of focus | SSIM | COC, RMSE | flow, px: all, visible | s/frame |
|---|---|---|---|---|---|---|---|
| `input`, `coc-s`, DIS | {atlas/input/psnr} | {atlas/input/gain} | {atlas/input/soft} | {atlas/input/ssim} | {atlas/input/rmse} | {atlas/input/flow}, {atlas/input/visible} | {atlas/input/seconds} |
| `focus-m` | {atlas/focus-m/psnr} | {atlas/focus-m/gain} | {atlas/focus-m/soft} | {atlas/focus-m/ssim} | | | {atlas/focus-m/seconds} |
| `plain@masks` | {atlas/plain@masks/psnr} | {atlas/plain@masks/gain} | {atlas/plain@masks/soft} | {atlas/plain@masks/ssim} | | {atlas/plain@masks/flow}, {atlas/plain@masks/visible} | {atlas/plain@masks/seconds} |
| `atlas@masks` | {atlas/atlas@masks/psnr} | {atlas/atlas@masks/gain} | {atlas/atlas@masks/soft} | {atlas/atlas@masks/ssim} | {atlas/atlas@masks/rmse} | {atlas/atlas@masks/flow}, {atlas/atlas@masks/visible} | {atlas/atlas@masks/seconds} |
| `atlas` | {atlas/atlas/psnr} | {atlas/atlas/gain} | {atlas/atlas/soft} | {atlas/atlas/ssim} | {atlas/atlas/rmse} | {atlas/atlas/flow}, {atlas/atlas/visible} | {atlas/atlas/seconds} |
"""

SINGLE = ("real-5", "gopro-pairs")
"""Rows of frames that do not follow each other: nothing flickers."""


def card(method: str, suites: Mapping[str, str]) -> str:
    """The table of a model's card: what it calls suites, and the stored row of each."""
    lines = [
        "| suite | input | gain | sharpest quarter | other frames | tOF, input's | detail, input's "
        "| sharpness, input's |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for what, row in suites.items():
        given = "bicubic" if row.startswith("focus-x2") else "input"

        def both(column: str, row: str = row, given: str = given) -> str:
            return f"{{{row}/{method}/{column}}}, {{{row}/{given}/{column}}}"

        lines.append(
            line(
                what,
                f"{{{row}/{given}/psnr}}",
                f"**{{{row}/{method}/gain}}**",
                f"{{{row}/{method}/sharpest_quarter}}",
                f"{{{row}/{method}/other_frames}}",
                "" if row in SINGLE else both("tof"),
                both("detail"),
                both("sharpness"),
            )
        )
    return "\n".join(lines)


REAL_5 = "`real-average`, 5 frames, 3 sequences"
LENS = "`davis-blur`, paper, 8 x 5 frames"
NIGHT = "`synth-lowlight`, 12 clips"
TWICE = "`synth-focus --scale 2`, 12 clips, over bicubic"
CARD_MOTION_M = card(
    "motion-m",
    {
        "`synth-motion`": "motion",
        "`synth-motion --encoded 23`": "motion-crf23",
        "`synth-motion --encoded 29`": "motion-crf29",
        "`synth-joint`": "joint",
        REAL_5: "real-5",
        "GoPro pairs, 11 single frames": "gopro-pairs",
    },
)
CARD_MOTION_S = card(
    "motion-s",
    {
        "`synth-motion`": "motion-s",
        "`synth-motion --encoded 23`": "motion-s-crf23",
        "`synth-motion --encoded 29`": "motion-s-crf29",
        "`synth-joint`": "joint",
        "`synth-focus`": "focus-others",
        REAL_5: "real-5",
    },
)
CARD_FOCUS_M = card(
    "focus-m",
    {
        "`synth-focus`": "focus",
        "`synth-focus --encoded 23`": "focus-crf23",
        "`synth-focus --encoded 29`": "focus-crf29",
        LENS: "davis-blur",
        NIGHT: "lowlight",
        TWICE: "focus-x2",
    },
)
CARD_FOCUS_S = card(
    "focus-s",
    {
        "`synth-focus`": "focus-others",
        "`synth-focus --encoded 23`": "focus-s-crf23",
        LENS: "davis-blur-s",
        NIGHT: "lowlight-s",
        TWICE: "focus-x2-s",
    },
)
CARDS = ROOT / "src" / "unblur" / "weights"

PAGES: Mapping[Path, Mapping[str, str]] = {
    ROOT / "docs" / "results.md": {
        "footage": FOOTAGE,
        "motion": MOTION,
        "focus": FOCUS,
        "guidance": GUIDANCE,
    },
    ROOT / "docs" / "bsstnet.md": {"motion": MOTION},
    ROOT / "docs" / "evaluation.md": {"peers": PEERS, "atlas": ATLAS},
    CARDS / "motion-m.md": {"suites": CARD_MOTION_M},
    CARDS / "motion-s.md": {"suites": CARD_MOTION_S},
    CARDS / "focus-m.md": {"suites": CARD_FOCUS_M},
    CARDS / "focus-s.md": {"suites": CARD_FOCUS_S},
}


def filled(table: str, items: Sequence[Mapping[str, Any]]) -> str:
    """A table with its figures.

    Raises:
        LookupError: no such row, method or column is stored.
    """
    means = {
        (item["name"], row["method"]): row for item in items for row in item["result"]["means"]
    }
    clips = {
        (item["name"], row["method"], row["clip"]): row
        for item in items
        for row in item["result"].get("rows", ())
    }
    with open(CASES, newline="", encoding="utf-8") as file:
        cases = {
            (f"focus_cases, {row['case']}", row["method"]): row for row in csv.DictReader(file)
        }

    def figure(match: re.Match[str]) -> str:
        name, method, column, left_out = match.groups()
        if left_out:
            some = [
                row[column]
                for (of, by, clip), row in clips.items()
                if (of, by) == (name, method) and not clip.startswith(left_out)
            ]
            if not some:
                raise LookupError(f"clips of {name}, {method}")
            return written(sum(some) / len(some), column)
        return written(float({**means, **cases}[name, method][column]), column)

    return FIGURE.sub(figure, table.strip())


def written(value: float, column: str) -> str:
    """As pages write it: without the zero before the point."""
    decimals = COLUMNS[column][1] if column in COLUMNS else OTHER_DECIMALS.get(column, 2)
    shown = f"{value:.{decimals}f}"
    if not float(shown):
        shown = shown.lstrip("-")
    return plain(shown)


def plain(number: str) -> str:
    """Without the zero before the point, as pages write it."""
    return re.sub(r"^(-?)0\.", r"\1.", number)


def with_tables(
    text: str, tables: Mapping[str, str], items: Sequence[Mapping[str, Any]], page: str
) -> str:
    """A page with its tables made anew.

    Raises:
        SystemExit: the page lacks the lines between which one stands, or a figure is not stored.
    """
    for name, table in tables.items():
        begin, end = (f"<!-- table {name}: {word} -->" for word in ("begin", "end"))
        before, found, rest = text.partition(begin)
        _, closed, after = rest.partition(end)
        if not found or not closed:
            raise SystemExit(f"{page} lacks the lines {begin} and {end}")
        try:
            made = filled(table, items)
        except LookupError as error:
            raise SystemExit(f"{page}, table {name}: {error} is not stored") from error
        text = f"{before}{begin}\n\n{made}\n\n{end}{after}"
    return text
