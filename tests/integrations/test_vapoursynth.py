"""The filter in VapourSynth itself: any seek, any order, all properties."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

import unblur
from unblur.errors import UsageError
from unblur.restorers.bsstnet import overlapping_windows
from unblur.restorers.none import Untouched

vs = pytest.importorskip("vapoursynth", exc_type=ImportError)
from unblur.integrations.vapoursynth import restore  # noqa: E402

EXAMPLE = Path(__file__).parents[2] / "examples" / "vapoursynth" / "restore.vpy"


class Neighbourly(Untouched):
    info = dataclasses.replace(
        Untouched.info, name="neighbourly", window=9, passes_through=False, scale=1
    )

    def windows(self, length, limit=None):
        return overlapping_windows(length, min(limit or 9, 9))

    def run(self, frames, guidance, outputs):
        return torch.stack([frames[max(0, t - 2) : t + 3].mean(0) for t in outputs])


class Doubling(Neighbourly):
    info = dataclasses.replace(Neighbourly.info, scale=2)

    def run(self, frames, guidance, outputs):
        return frames[list(outputs)].repeat_interleave(2, -1).repeat_interleave(2, -2)


LENGTH = 45


def image(n):
    """(3, 24, 32): two shots."""
    rng = np.random.default_rng(int(n >= 20))
    return np.roll(rng.random((3, 24, 32), np.float32), n, 2)


@pytest.fixture
def clip():
    blank = vs.core.std.BlankClip(width=32, height=24, format=vs.RGBS, length=LENGTH, keep=True)

    def paint(n, f):
        out = f.copy()
        for plane in range(3):
            np.asarray(out[plane])[...] = image(n)[plane]
        out.props.update({"Number": n, "_Transfer": 1, "_SceneChangePrev": int(n == 20)})
        return out

    return blank.std.ModifyFrame(blank, paint)


def shown(frame):
    return np.stack([np.asarray(frame[plane]) for plane in range(3)])


def test_frames_are_right_at_any_seek(clip):
    whole = torch.from_numpy(np.stack([image(n) for n in range(LENGTH)]))
    expected = unblur.restore(whole, model=Neighbourly(), transfer="bt709").numpy()
    sharp = restore(clip, model=Neighbourly())
    for n in [30, 44, 0, 19, 20, 15, 16, 31, 32, 44]:
        assert np.allclose(shown(sharp.get_frame(n)), expected[n], atol=1e-6), n


def test_all_frames_asked_at_once_are_the_same(clip):
    one_by_one, together = (restore(clip, model=Neighbourly()) for _ in range(2))
    for n, frame in enumerate(together.frames(prefetch=12)):
        assert np.array_equal(shown(frame), shown(one_by_one.get_frame(n)))
    assert n == LENGTH - 1


def test_properties_and_format_are_kept(clip):
    for model, size in ((Neighbourly(), (32, 24)), (Doubling(), (64, 48))):
        sharp = restore(clip, model=model)
        assert (sharp.width, sharp.height, sharp.num_frames) == (*size, LENGTH)
        assert sharp.format.id == vs.RGBS
        assert sharp.fps == clip.fps
        for n in (21, 20, 3):
            assert dict(sharp.get_frame(n).props) == dict(clip.get_frame(n).props)


def test_a_block_is_restored_once(clip):
    calls = []

    class Counting(Neighbourly):
        def run(self, frames, guidance, outputs):
            calls.append(len(outputs))
            return super().run(frames, guidance, outputs)

    sharp = restore(clip, model=Counting())
    for n in (5, 9, 2, 15):
        sharp.get_frame(n)
    assert sum(calls) == 16


def test_other_formats_are_refused_with_a_remedy(clip):
    with pytest.raises(UsageError, match="YUV420P8: make it RGBS"):
        restore(clip.std.BlankClip(format=vs.YUV420P8))
    with pytest.raises(UsageError, match="strength 2"):
        restore(clip, strength=2)


def test_the_example_runs(clip, monkeypatch, tmp_path):
    """With a source of the test's in place of the plugin that it names."""
    yuv = clip.resize.Bicubic(format=vs.YUV420P8, matrix_s="709")[:3]
    script = EXAMPLE.read_text().replace('core.bs.VideoSource("in.mp4")', "source")
    assert "source" in script
    script = script.replace('"motion-s"', '"none"')
    exec(compile(script, str(EXAMPLE), "exec"), {"source": yuv})
    out = vs.get_output(0)[0]
    assert (out.format.id, out.num_frames) == (vs.YUV420P8, 3)
    before, after = yuv.get_frame(1), out.get_frame(1)
    assert np.abs(np.asarray(after[0]).astype(int) - np.asarray(before[0])).max() <= 1
    vs.clear_outputs()
