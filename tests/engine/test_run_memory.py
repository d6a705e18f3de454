"""Peak memory does not grow with the length of the clip."""

from __future__ import annotations

import subprocess
import sys

import av
import numpy as np
import pytest

JOB = """
import dataclasses, sys
from unblur.ops.memory import peak_resident
from unblur.restorers import registry
from unblur.restorers.base import Preset, Window
from unblur.restorers.none import Untouched
import unblur

class Windowed(Untouched):
    info = dataclasses.replace(
        Untouched.info, name="windowed", window=12, passes_through=False)

    def windows(self, length, limit=None):
        edges = range(0, length, 8)
        return [
            Window(tuple(range(max(0, a - 2), min(length, a + 10))),
                   tuple(range(a, min(length, a + 8))))
            for a in edges
        ]

class Far(Windowed):
    info = dataclasses.replace(Windowed.info, name="far", reach=None)

    def windows(self, length, limit=None):
        ends = (0, length - 1)
        return [w._replace(inputs=(*w.inputs, *ends)) for w in super().windows(length)]

for kind in (Windowed, Far):
    registry.PRESETS[kind.info.name] = Preset(kind.info, lambda options, kind=kind: kind())
report = unblur.restore(sys.argv[1], sys.argv[1] + ".mkv", model=sys.argv[2], codec="ffv1")
print(report.frames, peak_resident())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="distinguished on Linux only")
def test_peak_is_not_that_of_the_process_that_started_it():
    held = np.ones(1 << 30, np.uint8)
    code = "from unblur.ops.memory import peak_resident; print(peak_resident())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < held.nbytes


LENGTHS = (300, 1500)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="nothing says the peak there")
@pytest.mark.parametrize("model", ["none", "windowed", "far"])
def test_five_times_longer_same_peak(tmp_path, model):
    peaks = []
    for frames in LENGTHS:
        path = tmp_path / f"{frames}.mp4"
        make_clip(path, frames)
        done = subprocess.run(
            [sys.executable, "-c", JOB, str(path), model],
            capture_output=True,
            text=True,
            check=True,
        )
        count, peak = map(int, done.stdout.split())
        assert count == frames
        peaks.append(peak)
    # The peak is the worst meeting of three threads, and a longer run meets worse ones; a third of
    # a frame for each more is far less than one that is held.
    assert peaks[1] - peaks[0] <= (LENGTHS[1] - LENGTHS[0]) * 426 * 240 * 3 / 3


def make_clip(path, frames):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (240, 960, 3), np.uint8)
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=30, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 426, 240, "yuv420p"
        for i in range(frames):
            shown = np.ascontiguousarray(image[:, i % 500 : i % 500 + 426])
            file.mux(stream.encode(av.VideoFrame.from_ndarray(shown, format="rgb24")))
        file.mux(stream.encode(None))
