"""Encoders that make their caller a real-time process do not get away with it."""

from __future__ import annotations

import os
import sys

import av
import pytest
import torch

import unblur
from unblur.data.codec import Encoding, through
from unblur.ops.priority import kept_priority, real_time

pytestmark = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0 or sys.platform != "linux",
    reason="only root may have real-time priority",
)


def test_what_becomes_real_time_inside_is_as_before_outside():
    before = os.sched_getscheduler(0)
    with kept_priority():
        try:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
        except OSError:
            pytest.skip("real-time priority is not given here")
        assert real_time()
    assert os.sched_getscheduler(0) == before
    assert not real_time()


@pytest.mark.skipif("libsvtav1" not in av.codecs_available, reason="needs SVT-AV1")
def test_encoding_av1_leaves_the_priority_as_it_was(tmp_path):
    frames = torch.rand(3, 3, 64, 64)
    through(frames, Encoding("libsvtav1", {"preset": "10", "svtav1-params": "lp=1"}))
    assert not real_time()
    (tmp_path / "in").mkdir()
    unblur.simulate.scenes(tmp_path / "in", count=1, frames=3, width=64, height=64)
    source = next((tmp_path / "in").rglob("blurred"))
    unblur.restore(source, tmp_path / "out.mkv", model="none", codec="av1")
    assert not real_time()
