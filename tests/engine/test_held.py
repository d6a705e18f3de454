"""Frames wait in a file as they do in memory, and nothing of the file stays."""

from __future__ import annotations

import dataclasses
import os
import shutil
import sys
from collections import namedtuple
from contextlib import nullcontext
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import unblur
from unblur.engine.held import InMemory, OnDisk, held_for
from unblur.engine.plan import MemoryPlan
from unblur.engine.rendition import Rendition
from unblur.engine.run import Runner
from unblur.errors import ResourceError
from unblur.ops.shots import Shot
from unblur.restorers import registry
from unblur.restorers.base import Preset, Window
from unblur.restorers.none import Untouched
from unblur.video import Frame

INFO = dataclasses.replace(
    Untouched.info, name="far", window=4, reach=None, needs_depth=True, passes_through=False
)
WIDTH, HEIGHT = 26, 14


class Far(Untouched):
    """Two frames at a time, mixed with the first and the last of the shot and with the maps."""

    info = INFO
    fault: BaseException | None = None

    def windows(self, length, limit=None):
        pairs = (range(a, min(a + 2, length)) for a in range(0, length, 2))
        return [Window((*dict.fromkeys((*pair, 0, length - 1)),), tuple(pair)) for pair in pairs]

    def guide(self, frames, priors):
        return {"depth": priors.depth, "blur": priors.blur}

    def run(self, frames, guidance, outputs):
        if self.fault is not None and len(frames) == 4:
            raise self.fault
        mixed = frames.mean(0) + guidance["depth"].mean(0) - guidance["blur"][-1]
        return (frames[outputs] + mixed) / 2


class Maps:
    """Depth that follows the image; the blur map is the same, or another."""

    def __init__(self, same: bool) -> None:
        self.same = same

    def restart(self):
        self.count = 0

    def __call__(self, image, rgb):
        self.count += 1
        depth = (rgb[:, :1] / self.count).half()
        return depth, depth if self.same else (1 - depth)


def noise(count: int) -> list[Frame]:
    rng = np.random.default_rng(0)
    frames = []
    for i in range(count):
        codes = rng.integers(0, 256, (HEIGHT * 3 // 2, WIDTH), np.uint8)
        image = av.VideoFrame.from_ndarray(codes, "yuv420p")
        frames.append(Frame(image, i, i, Fraction(1, 25)))
    return frames


@settings(deadline=None, max_examples=20)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=3), st.booleans())
def test_results_are_those_of_memory(tmp_path_factory, lengths, same):
    folder = tmp_path_factory.mktemp("job")
    edges = [sum(lengths[:i]) for i in range(len(lengths) + 1)]
    shots = [Shot(a, b) for a, b in pairwise(edges)]
    frames = noise(edges[-1])
    found = []
    for place in (nullcontext(InMemory()), held_for(INFO, shots, str(folder / "out.mkv"))):
        with place as held:
            runner = Runner(
                Far(), Rendition("encoded", "bt709"), MemoryPlan(None, None), Maps(same)
            )
            found.append(list(runner.restore(iter(frames), shots, held)))
    for (a, x), (b, y) in zip(*found, strict=True):
        assert (a.index, a.pts) == (b.index, b.pts)
        assert torch.equal(a.rgb(), b.rgb())
        assert torch.equal(x, y)
    assert not list(folder.iterdir())


def test_only_those_that_look_at_the_whole_clip_wait_on_disk(tmp_path):
    shots = [Shot(0, 3), Shot(3, 8)]
    near = dataclasses.replace(INFO, reach=80)
    assert isinstance(held_for(near, shots, "out.mkv").__enter__(), InMemory)
    for target in ("out.mkv", "new/%05d.png", "images/"):
        with held_for(INFO, shots, str(tmp_path / target)) as held:
            assert isinstance(held, OnDisk)
            assert held.folder == tmp_path.resolve()
            assert held.most == 5


def test_a_frame_takes_in_the_file_what_it_takes_in_the_video(tmp_path):
    with OnDisk(tmp_path, 9) as held:
        for i, frame in enumerate(noise(9)):
            depth, blur = torch.rand(2, 1, 1, HEIGHT, WIDTH).half()
            held.put(i, frame, (depth, depth if i else blur))
        pixels = HEIGHT * WIDTH
        assert os.fstat(held._file.fileno()).st_size <= pixels * (9 * (1.5 + 2) + 2)
        held.clear()
        assert os.fstat(held._file.fileno()).st_size == 0


def test_space_is_asked_for_before_it_runs_out(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")(10**9, 0, 5_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    (frame,) = noise(1)  # 546 bytes
    with OnDisk(tmp_path, 9) as held:
        held.put(0, frame, None)
    with (
        OnDisk(tmp_path, 10) as held,
        pytest.raises(ResourceError, match=r"10 frames wait in .* --start and --end"),
    ):
        held.put(0, frame, None)


def test_a_folder_that_takes_no_file_is_named(tmp_path):
    with pytest.raises(ResourceError, match="write to another folder"):
        OnDisk(tmp_path / "missing", 3)


@pytest.mark.parametrize("fault", [RuntimeError("broken"), KeyboardInterrupt(), None])
def test_nothing_stays_behind(tmp_path: Path, monkeypatch, fault):
    job = tmp_path / "in.mkv"
    with av.open(str(job), "w") as file:
        stream = file.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for frame in noise(9):
            frame.image.pts = None
            file.mux(stream.encode(frame.image))
        file.mux(stream.encode(None))

    files = []
    close = OnDisk.__exit__

    def closed(self, *error):
        close(self, *error)
        files.append(self._file)

    monkeypatch.setattr(OnDisk, "__exit__", closed)
    restorer = Far()
    restorer.fault = fault
    monkeypatch.setitem(registry.PRESETS, "far", Preset(INFO, lambda options: restorer))
    before = open_files()
    out = tmp_path / "out.mkv"
    if fault is None:
        assert unblur.restore(job, out, model="far", codec="ffv1").frames == 9
    else:
        with pytest.raises(type(fault)):
            unblur.restore(job, out, model="far", codec="ffv1")
    (file,) = files
    assert file.closed
    assert open_files() == before
    assert {p.name for p in tmp_path.iterdir()} == {"in.mkv"} | (
        {"out.mkv"} if not fault else set()
    )


def open_files() -> int:
    return len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else 0
