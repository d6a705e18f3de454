"""Encodes the rendered suites for `unblur evaluate SUITE --encoded 23|29`.

    python benchmarks/encode_suites.py

Run it after a suite got a new version, and commit what it writes.
"""

from __future__ import annotations

from unblur.evaluation.encoded import FACTORS, FOLDER, write_archive
from unblur.evaluation.suites import SUITES, Sources

for suite in SUITES.values():
    if "encoded" not in suite.takes:
        continue
    FOLDER.mkdir(exist_ok=True)
    for factor in FACTORS:
        path = FOLDER / f"{suite.name}-{factor}.zip"
        write_archive(suite.clips(Sources()), path, factor)
        print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB", flush=True)
