"""Encodes the rendered suites for `unblur evaluate SUITE --encoded 23|29`.

    python benchmarks/encode_suites.py

Run it after a suite got a new version, and commit what it writes.
"""

from __future__ import annotations

from unblur.evaluation.encoded import FACTORS, FOLDER, write_archive
from unblur.evaluation.focus_pulls import focus_pulls
from unblur.evaluation.suites import SUITES, Sources

found = {s.name: s.clips(Sources()) for s in SUITES.values() if "encoded" in s.takes}
for name, clips in {**found, "atlas": focus_pulls()}.items():
    FOLDER.mkdir(exist_ok=True)
    for factor in FACTORS:
        path = FOLDER / f"{name}-{factor}.zip"
        write_archive(clips, path, factor)
        print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB", flush=True)
