"""Options of restoring that more than one verb takes: `restore` and `batch`."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import typer

from unblur.cli.options import parse_size

MODEL, INPUT, OUTPUT, MEMORY = "Model", "Input", "Output", "Memory"
"""Panels of the help."""


class LightChoice(str, Enum):
    """Values of `--light`."""

    auto = "auto"
    linear = "linear"
    encoded = "encoded"


class BlurChoice(str, Enum):
    """Values of `--for`."""

    auto = "auto"
    motion = "motion"
    focus = "focus"


class QualityChoice(str, Enum):
    """Values of `--quality`."""

    auto = "auto"
    fast = "fast"
    best = "best"


class PrecisionChoice(str, Enum):
    """Values of `--precision`."""

    auto = "auto"
    fp32 = "fp32"
    bf16 = "bf16"
    fp16 = "fp16"


Blur = Annotated[
    BlurChoice,
    typer.Option(
        "--for",
        rich_help_panel=MODEL,
        help="Blur to remove; auto looks at each shot: what is sharp passes as it is.",
    ),
]

Quality = Annotated[
    QualityChoice,
    typer.Option(rich_help_panel=MODEL, help="Model to take; auto: the best done in ten minutes."),
]

Model = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        rich_help_panel=MODEL,
        help="A name from `unblur models` for all shots, instead of the two above.",
    ),
]

Weights = Annotated[
    str | None,
    typer.Option(metavar="FILE", rich_help_panel=MODEL, help="A .safetensors file to use instead."),
]

Device = Annotated[
    str,
    typer.Option(
        metavar="DEVICE",
        rich_help_panel=MODEL,
        help="auto, cpu, cuda, cuda:1, mps; cuda:0,1.",
    ),
]

Precision = Annotated[
    PrecisionChoice, typer.Option(rich_help_panel=MODEL, help="How the network computes.")
]

Light = Annotated[
    LightChoice, typer.Option(rich_help_panel=MODEL, help="Light the network is fed.")
]

Strength = Annotated[
    float,
    typer.Option(
        min=0,
        max=1,
        metavar="0..1",
        rich_help_panel=MODEL,
        help="0 keeps the input, 1 restores it fully.",
    ),
]

Fuse = Annotated[
    str,
    typer.Option(
        metavar="auto|off|N",
        rich_help_panel=MODEL,
        help="Repair each restored frame by N restored ones on either side.",
    ),
]

Cluster = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        rich_help_panel=MODEL,
        show_default=False,
        help="Share the work with a Ray cluster: its address, or auto.",
    ),
]

Deinterlace = Annotated[
    bool,
    typer.Option("--deinterlace", rich_help_panel=INPUT, help="Take interlaced video."),
]

Codec = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        rich_help_panel=OUTPUT,
        show_default="by extension",
        help="h264, h265, av1, vp9, prores or ffv1.",
    ),
]

Crf = Annotated[
    int | None,
    typer.Option(
        metavar="NUMBER",
        rich_help_panel=OUTPUT,
        show_default="visually lossless",
        help="Quality of the encoder: lower is better and larger.",
    ),
]

Overwrite = Annotated[
    bool, typer.Option("--overwrite", rich_help_panel=OUTPUT, help="Replace OUT if it exists.")
]

MaxMemory = Annotated[
    int | None,
    typer.Option(
        metavar="SIZE",
        parser=parse_size,
        rich_help_panel=MEMORY,
        show_default="what is free",
        help="Most memory to use, such as 3GB or 800MB.",
    ),
]
