"""A job says what disk and memory it needs, before its work."""

from __future__ import annotations

import re
from collections import namedtuple
from fractions import Fraction

import av
import numpy as np
import pytest

import unblur
from unblur.errors import ResourceError
from unblur.ops.memory import PROGRAM
from unblur.video.writer import FileWriter

Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def clip(tmp_path):
    path = tmp_path / "in.mkv"
    rng = np.random.default_rng(0)
    with av.open(str(path), "w") as file:
        video = file.add_stream("ffv1", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        for i in range(20):
            frame = av.VideoFrame.from_ndarray(rng.integers(0, 16, (72, 64), "u1"), "yuv420p")
            frame.pts, frame.time_base = i, Fraction(1, 25)
            file.mux(video.encode(frame))
        file.mux(video.encode(None))
    return path


def test_a_job_says_what_disk_it_needs(clip, tmp_path):
    said = []
    given = {"model": "none", "codec": "ffv1", "progress": said.append}
    unblur.restore(clip, tmp_path / "out.mkv", **given)
    need = next(now.plan.disk for now in said if now.plan)
    assert 0.5 < need / (2 * (tmp_path / "out.mkv").stat().st_size) < 2


@pytest.mark.parametrize("share", [0.5, 0.01])
def test_a_disk_that_is_too_small(clip, tmp_path, monkeypatch, share):
    free = int(share * 2 * 0.45 * 20 * 64 * 48 * 1.5)
    monkeypatch.setattr("unblur.commands.space.shutil.disk_usage", lambda _: Usage(1, 1, free))
    given = {"model": "none", "codec": "ffv1"}
    if share < 0.05:
        with pytest.raises(ResourceError, match=r"of disk until it is complete, and .* are free"):
            unblur.restore(clip, tmp_path / "out.mkv", **given)
        assert [path.name for path in tmp_path.iterdir()] == ["in.mkv"]
        return
    with pytest.warns(match="with more room --resume goes on"):
        unblur.restore(clip, tmp_path / "out.mkv", **given)
    assert (tmp_path / "out.mkv").exists()


def test_the_encoder_counts_where_frames_pass_as_they_are(clip, tmp_path, monkeypatch):
    """It holds frames that it looks ahead at: 200 bytes a pixel in H.264."""
    monkeypatch.setattr("unblur.ops.memory.resident", lambda: 0)
    room = PROGRAM + 100 * 64 * 48
    with pytest.raises(ResourceError, match=r"decode and encode .* takes --max-memory 70MB"):
        unblur.restore(clip, tmp_path / "out.mkv", model="none", max_memory=room)
    unblur.restore(clip, tmp_path / "out.mkv", model="none", codec="ffv1", max_memory=room)


def test_the_encoder_counts_beside_a_network(clip, tmp_path, monkeypatch):
    def least():
        with pytest.raises(ResourceError, match="needs --max-memory") as refused:
            unblur.restore(clip, tmp_path / "out.mkv", model="motion-s", max_memory=1_000_000)
        return int(re.search(r"(\d+)MB", str(refused.value))[1])

    monkeypatch.setattr("unblur.ops.memory.resident", lambda: 0)
    before = least()
    monkeypatch.setattr(FileWriter, "encoder_bytes", lambda self, frames: 500_000_000)
    assert 490 <= least() - before <= 510


def test_an_encoder_holds_less_of_a_short_clip(clip, tmp_path):
    with unblur.video.open_video(clip) as reader:
        writer = unblur.video.create_video(tmp_path / "out.mp4", reader.info, source=clip)
        assert isinstance(writer, FileWriter)
        try:
            few, many, more = (writer.encoder_bytes(n) for n in (5, 50, 5000))
        finally:
            writer.abort()
    assert 9 * few < many == more == writer.encoder_bytes(None)
