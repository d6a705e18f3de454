"""Figures that papers print, to stand beside what is measured here: never measured by us.

BSSTNet: Zhang, Xie, Yao, CVPR 2024, tables 1 and 2. DaBiT: Morris and others, arXiv 2407.01230,
table 1, and the page of its released code.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

BSSTNET, DABIT = "BSSTNet, CVPR 2024", "DaBiT, arXiv 2407.01230"


@dataclass(frozen=True)
class Published:
    """A row as a paper prints it."""

    method: str
    psnr: float
    ssim: float
    source: str
    tof: float | None = None

    def as_row(self) -> dict[str, Any]:
        """For tables and JSON; what was not printed is left out."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def table(source: str, *rows: tuple[Any, ...]) -> tuple[Published, ...]:
    """Rows of one table: name, PSNR, SSIM and, where it is printed, tOF."""
    return tuple(
        Published(row[0], row[1], row[2], source, row[3] if len(row) > 3 else None) for row in rows
    )


GOPRO = table(
    f"{BSSTNET}, table 1",
    ("STFAN", 28.69, 0.8610),
    ("STDAN", 32.62, 0.9375),
    ("RNN-MBP", 33.32, 0.9627),
    ("NAFNet", 33.69, 0.9670),
    ("VRT", 34.81, 0.9724),
    ("RVRT", 34.92, 0.9738),
    ("Shift-Net+", 35.88, 0.9790),
    ("BSSTNet", 35.98, 0.9792),
)
DVD = table(
    f"{BSSTNET}, table 2",
    ("STFAN", 31.24, 0.9340),
    ("STDAN", 33.05, 0.9374),
    ("RNN-MBP", 32.49, 0.9568),
    ("ARVo", 32.80, 0.9352),
    ("VRT", 34.27, 0.9651),
    ("RVRT", 34.30, 0.9655),
    ("Shift-Net+", 34.69, 0.9690),
    ("BSSTNet", 34.95, 0.9703),
)
DAVIS_PAPER = table(
    f"{DABIT}, table 1",
    ("ProPainter, completing", 17.962, 0.597, 4.992),
    ("BasicVSR++ of 120 lines", 25.186, 0.679, 3.983),
    ("BasicVSR++", 25.618, 0.713, 3.716),
    ("Restormer", 24.715, 0.698, 2.902),
    ("APL", 23.870, 0.605, 4.768),
    ("FMA-Net, retrained", 25.691, 0.721, 2.396),
    ("FMA-Net of 120 lines, retrained", 26.860, 0.720, 2.291),
    ("DaBiT", 28.777, 0.811, 1.239),
    ("DaBiT V1", 25.311, 0.706, 2.499),
    ("DaBiT V2", 27.203, 0.758, 1.914),
    ("DaBiT V3", 25.227, 0.703, 2.548),
)
DAVIS_RELEASE = table(f"{DABIT}, released code", ("DaBiT", 28.480, 0.841, 1.189))

FIGURES = {
    "gopro": GOPRO,
    "dvd": DVD,
    "davis-blur paper": DAVIS_PAPER,
    "davis-blur release": DAVIS_RELEASE,
}
"""By suite, and by its setting where that matters."""
