"""A job says what disk it needs, before its work."""

from __future__ import annotations

from collections import namedtuple
from fractions import Fraction

import av
import numpy as np
import pytest

import unblur
from unblur.errors import ResourceError

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
