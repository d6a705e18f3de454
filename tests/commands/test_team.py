"""Several workers share a restoration; what comes out is what one of them gives."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import warnings
from fractions import Fraction

import av
import numpy as np
import pytest

import unblur
from tests.commands.test_resume import Mixing
from unblur.commands.unfinished import folder_of
from unblur.errors import NumericsError, ResourceError, UsageError
from unblur.restorers.base import Preset
from unblur.restorers.registry import PRESETS

FRAMES = 40


def make_clip(path, frames=FRAMES, size=(64, 48)):
    """Two shots of moving noise with sound."""
    rng = np.random.default_rng(0)
    width, height = size
    shots = rng.integers(0, 256, (2, height, width + frames, 3), np.uint8)
    with av.open(str(path), "w") as file:
        video, sound = file.add_stream("mpeg4", rate=25), file.add_stream("pcm_s16le", rate=8000)
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        sound.layout = "mono"
        for i in range(frames):
            shown = np.ascontiguousarray(shots[i * 2 // frames][:, i : i + width])
            frame = av.VideoFrame.from_ndarray(shown)
            frame.pts, frame.time_base = i, Fraction(1, 25)
            file.mux(video.encode(frame))
        file.mux(video.encode(None))
        noise = rng.integers(-999, 999, (1, 320 * frames), np.int16)
        tone = av.AudioFrame.from_ndarray(noise, "s16", "mono")
        tone.rate, tone.pts = 8000, 0
        file.mux(sound.encode(tone))
        file.mux(sound.encode(None))
    return path


@pytest.fixture
def clip(tmp_path):
    return make_clip(tmp_path / "in.mov")


OPTIONS = {"model": "bsstnet-tiny", "window": 6, "fuse": 2}
QUICK = {"model": "mixing", "codec": "ffv1", "fuse": "off"}


@pytest.fixture(autouse=True)
def mixing(monkeypatch):
    """A quick model of which every frame depends on its window."""
    monkeypatch.setitem(PRESETS, "mixing", Preset(Mixing.info, lambda options: Mixing()))


@pytest.mark.parametrize("options", [QUICK, pytest.param(OPTIONS, marks=pytest.mark.slow)])
def test_devices_give_what_one_gives(clip, tmp_path, options):
    whole, out = tmp_path / "whole.mkv", tmp_path / "out.mkv"
    unblur.restore(clip, whole, end="f30", **options)
    said = []
    report = unblur.restore(clip, out, device="cpu,cpu", end="f30", progress=said.append, **options)
    assert out.read_bytes() == whole.read_bytes()
    assert (report.frames, report.device) == (30, "cpu,cpu")
    assert {now.stage for now in said} >= {"open", "look through", "restore", "finish"}
    assert max(now.done for now in said if now.stage == "restore") == 30
    assert len({id(now.plan) for now in said if now.plan}) == 1
    assert not folder_of(out).exists()


def test_what_one_began_several_go_on_with(clip, tmp_path, monkeypatch):
    monkeypatch.setattr("unblur.commands.unfinished.WORTH", 0.0)
    whole, out = tmp_path / "whole.mkv", tmp_path / "out.mkv"
    unblur.restore(clip, whole, **QUICK)

    def stop(now):
        if now.stage == "restore" and now.done >= 8:
            raise KeyboardInterrupt

    for device in ("cpu", "cpu,cpu"):
        said = []
        with pytest.raises(KeyboardInterrupt), pytest.warns(match="--resume"):
            unblur.restore(clip, out, device=device, resume=device != "cpu", progress=stop, **QUICK)
    unblur.restore(clip, out, resume=True, device="cpu,cpu", progress=said.append, **QUICK)
    assert min(now.done for now in said if now.stage == "restore") > 0
    assert out.read_bytes() == whole.read_bytes()


def test_what_a_worker_meets_ends_the_job(clip, tmp_path, monkeypatch):
    def fail(self, frames, guidance, outputs):
        raise NumericsError("not this one")

    monkeypatch.setattr(Mixing, "run", fail)
    with pytest.raises(NumericsError, match="not this one"):
        unblur.restore(clip, tmp_path / "out.mkv", device="cpu,cpu", **QUICK)
    assert [path.name for path in tmp_path.iterdir()] == ["in.mov"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"device": "cpu,auto"}, "name each"),
        ({"device": "cpu,there"}, "unknown device 'there'"),
        ({"device": "cpu,cpu", "preview": True}, "a preview is short"),
        ({"device": "cpu,cpu", "model": "focus-s", "depth": "maps"}, "take builtin"),
    ],
    ids=str,
)
def test_what_cannot_be_shared_is_refused(clip, tmp_path, options, said):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing is said of how it would be done
        with pytest.raises(UsageError, match=said):
            unblur.restore(clip, tmp_path / "out.mkv", **options)


def test_without_ray_a_remedy_is_named(clip, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ResourceError, match=r"pip install 'unblur\[cluster\]'"):
        unblur.restore(clip, tmp_path / "out.mkv", cluster="auto", **OPTIONS)


@pytest.fixture
def ray(monkeypatch):
    """A cluster of two workers on this machine."""
    monkeypatch.setenv("RAY_worker_niceness", "0")  # others come first by default
    ray = pytest.importorskip("ray")
    ray.init(address="local", num_cpus=2, log_to_driver=False, logging_level="ERROR")
    yield ray
    ray.shutdown()


@pytest.mark.slow
def test_a_cluster_gives_what_one_machine_gives_also_when_a_worker_dies(clip, tmp_path, ray):
    whole, out = tmp_path / "whole.mkv", tmp_path / "out.mkv"
    unblur.restore(clip, whole, **OPTIONS)
    workers, killed = set(), []
    own = os.getpid()

    def kill(now):
        if now.stage == "restore" and now.done >= 8 and not killed:
            listed = subprocess.run(
                ["ps", "-eo", "pid,ppid,args"], capture_output=True, text=True, check=True
            ).stdout
            rows = [line.split(None, 2) for line in listed.splitlines()[1:]]
            parents = {int(pid): int(parent) for pid, parent, _ in rows}
            workers.update(
                int(pid)
                for pid, _, words in rows
                if words.startswith("ray::Worker") and own in ancestors(int(pid), parents)
            )
            killed.append(min(workers))
            os.kill(killed[0], signal.SIGKILL)

    report = unblur.restore(clip, out, cluster="local", progress=kill, **OPTIONS)
    assert len(workers) == 2
    assert out.read_bytes() == whole.read_bytes()
    assert (report.frames, report.device) == (FRAMES, "cpu")


def ancestors(process, parents):
    """Numbers of the processes that began a process, and those that began them."""
    found = []
    while process in parents and process not in found:
        found.append(process)
        process = parents[process]
    return found
