"""`unblur.restore` on files and tensors."""

from __future__ import annotations

import dataclasses

import av
import numpy as np
import pytest
import torch

import unblur
from unblur import weights
from unblur.engine.estimate import Cost
from unblur.engine.fusion import choose_radius
from unblur.errors import UsageError, WeightsError
from unblur.metrics import psnr
from unblur.ops.gaussian import gaussian_blur
from unblur.restorers.base import Preset
from unblur.restorers.none import Untouched
from unblur.restorers.registry import PRESETS, choose_model, preset


@pytest.fixture
def clip(tmp_path):
    """A clip of 75 frames, 3 s, 32x24, whose second half is another shot."""
    path = tmp_path / "clip.mkv"
    rng = np.random.default_rng(0)
    shots = rng.integers(0, 255, (2, 3, 15, 3), np.uint8).repeat(8, 1).repeat(8, 2)
    with av.open(str(path), "w") as file:
        stream = file.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 32, 24, "bgr0"
        for i in range(75):
            shown = np.ascontiguousarray(shots[i // 38][:, i : i + 32])
            file.mux(
                stream.encode(av.VideoFrame.from_ndarray(shown, "rgb24").reformat(format="bgr0"))
            )
        file.mux(stream.encode(None))
    return path


def read(path):
    with av.open(str(path)) as file:
        return [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]


def test_a_report_says_what_was_done(clip, tmp_path):
    said = []
    report = unblur.restore(
        clip, tmp_path / "out.mkv", model="bsstnet-tiny", codec="ffv1", progress=said.append,
        start="f30", end="2s",
    )  # fmt: skip
    assert (report.frames, report.shots, report.window) == (20, 2, 12)
    assert report.model == "bsstnet-tiny"
    assert report.light == "encoded"
    assert [p.done for p in said if p.stage == "look through"] == list(range(21))
    assert {p.total for p in said if p.stage == "restore"} == {20}
    stages = [p.stage for p in said]
    assert list(dict.fromkeys(stages)) == ["open", "look through", "restore", "finish"]
    assert said[0].plan is None
    plan = said[-1].plan
    assert (plan.model, plan.device, plan.total) == ("bsstnet-tiny", "cpu", 20)
    shares = [p.share for p in said]
    assert shares == sorted(shares)
    assert shares[-1] <= 1
    assert len(read(tmp_path / "out.mkv")) == 20


@pytest.mark.parametrize(
    ("options", "seconds", "model"),
    [
        ({"quality": "fast"}, 0.0, "motion-s"),
        ({"quality": "best"}, 999.0, "motion-m"),
        ({}, 299.0, "motion-m"),  # two frames: just under ten minutes
        ({}, 301.0, "motion-s"),
    ],
)
def test_quality_chooses_the_model(clip, tmp_path, monkeypatch, options, seconds, model):
    monkeypatch.setattr("unblur.commands.request.cost_per_frame", lambda *_: Cost(run=seconds))
    monkeypatch.setattr("unblur.commands.planning.expected_frames", lambda *_: 2)
    report = unblur.restore(clip, tmp_path / "out.mkv", codec="ffv1", end="f2", **options)
    assert report.model == model


def test_weights_choose_their_model(clip, tmp_path):
    trained, nameless = tmp_path / "best.safetensors", tmp_path / "nameless.safetensors"
    state = weights.load(weights.require("maxim-stage1", ""))
    weights.save(trained, state, {"network": "maxim-stage1", "step": "3"})
    weights.save(nameless, state, {})
    options = {"codec": "ffv1", "end": "f2"}
    report = unblur.restore(clip, tmp_path / "a.mkv", weights=trained, **options)
    assert report.model == "maxim-stage1"
    for wrong in ({"weights": nameless}, {"weights": trained, "quality": "fast"}):
        with pytest.raises(WeightsError, match="does not fit"):
            unblur.restore(clip, tmp_path / "b.mkv", **wrong, **options)
    with pytest.raises(WeightsError, match="not found"):
        unblur.restore(clip, tmp_path / "b.mkv", weights=tmp_path / "none", **options)


def test_clips_of_unknown_length_take_the_fast_model():
    assert choose_model("auto", lambda: None) == "motion-s"


@pytest.mark.parametrize("options", [{"model": "none"}, {"strength": 0.0}])
def test_doing_nothing_changes_nothing(clip, tmp_path, options):
    unblur.restore(clip, tmp_path / "out.mkv", codec="ffv1", **options)
    for a, b in zip(read(clip), read(tmp_path / "out.mkv"), strict=True):
        assert np.array_equal(a, b)


LABEL = 20
"""Rows that the word in a corner may cover."""


def test_a_preview_is_two_seconds_of_both(clip, tmp_path):
    report = unblur.restore(clip, tmp_path / "out.mkv", model="none", codec="ffv1", preview=True)
    frames = read(tmp_path / "out.mkv")
    assert len(frames) == report.frames == 50
    assert frames[0].shape == (24, 68, 3)
    for shown, source in zip(frames, read(clip)[:50], strict=True):
        below = source[LABEL:]
        assert np.array_equal(shown[LABEL:, :32], below)
        assert np.array_equal(shown[LABEL:, 36:], below)
    assert not np.array_equal(frames[0][:LABEL, :32], read(clip)[0][:LABEL])


@pytest.mark.parametrize("at", [None, "f7", "0s"])
def test_a_preview_of_a_frame_is_that_frame_restored_twice(clip, tmp_path, at):
    options = {"model": "none", "preview": True, "at": at}
    report = unblur.restore(clip, tmp_path / "look.png", **options)
    assert (report.frames, report.output) == (1, tmp_path / "look.png")
    (frame,) = read(tmp_path / "look.png")
    number = {None: len(read(clip)) // 2, "f7": 7, "0s": 0}[at]
    assert np.array_equal(frame[LABEL:, :32], read(clip)[number][LABEL:])
    assert np.array_equal(frame[LABEL:, -32:], frame[LABEL:, :32])
    with pytest.raises(UsageError, match="exists"):
        unblur.restore(clip, tmp_path / "look.png", **options)


def test_a_preview_as_a_page_needs_nothing_else(clip, tmp_path):
    unblur.restore(clip, tmp_path / "look.html", model="none", preview=True, at="f3", end="f5")
    page = (tmp_path / "look.html").read_text()
    assert page.count("data:image/png;base64,") == 2
    assert 'type="range"' in page
    assert "http" not in page
    with pytest.raises(UsageError, match="--preview"):
        unblur.restore(clip, tmp_path / "look.mkv", at="f3")


def test_a_preview_counts_the_neighbours_that_there_are(clip, tmp_path):
    said = []
    options = {"model": "motion-s", "preview": True, "progress": said.append}
    unblur.restore(clip, tmp_path / "first.png", at="f0", **options)
    assert (
        said[-1].plan.total == said[-1].total == 1 + choose_radius("auto", preset("motion-s").info)
    )


@pytest.mark.parametrize("model", ["maxim-stage1", "bsstnet-tiny", "none"])
@pytest.mark.parametrize("shape", [(1, 3, 8, 16), (2, 3, 1, 1), (5, 3, 17, 33)])
def test_tensors_of_any_size(model, shape):
    frames = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    restored = unblur.restore(frames, model=model)
    assert restored.shape == shape
    assert torch.isfinite(restored).all()
    assert 0 <= restored.min() <= restored.max() <= 1


def test_the_same_twice():
    frames = torch.rand(3, 3, 20, 24, generator=torch.Generator().manual_seed(0))
    assert torch.equal(
        unblur.restore(frames, model="bsstnet-tiny"), unblur.restore(frames, model="bsstnet-tiny")
    )


def test_a_file_equals_its_frames_as_a_tensor(clip, tmp_path):
    unblur.restore(clip, tmp_path / "out.mkv", model="bsstnet-tiny", codec="ffv1", end="f12")
    stacked = torch.from_numpy(np.stack(read(clip)[:12])).permute(0, 3, 1, 2) / 255
    expected = unblur.restore(stacked, model="bsstnet-tiny") * 255
    got = torch.from_numpy(np.stack(read(tmp_path / "out.mkv"))).permute(0, 3, 1, 2)
    assert (got - expected).abs().max() <= 0.51


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strength": 1.5}, "takes 0"),
        ({"light": "dark"}, "auto, linear or encoded"),
        ({"model": "maxim"}, "did you mean maxim-"),
        ({"model": "dabits"}, "did you mean dabit"),
        ({"model": "dabit-m"}, "it is called focus-m now"),
        ({"model": "nope"}, "unknown model 'nope': `unblur models` lists them"),
        ({"tile": 7}, "at least 32"),
        ({"device": "tpu7"}, "unknown device"),
        ({"precision": "int8"}, "unknown precision"),
        ({"quality": "great"}, "auto, fast, best"),
        ({"quality": "best", "model": "none"}, "leave out --model none"),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(UsageError, match=message):
        unblur.restore(torch.rand(1, 3, 8, 8), **options)


def test_wrong_tensors_and_missing_destinations():
    with pytest.raises(UsageError, match=r"\(T, 3, H, W\)"):
        unblur.restore(torch.rand(3, 8, 8))
    with pytest.raises(UsageError, match="destination"):
        unblur.restore("in.mp4")


def test_restored_frames_are_fused_where_that_is_wanted(monkeypatch):
    rough = torch.rand(1, 3, 64, 110, generator=torch.Generator().manual_seed(0))
    whole = gaussian_blur(rough, 1.5)[0]
    truth = torch.stack([whole[..., 2 * t : 2 * t + 96] for t in range(5)]) * 0.8 + 0.1
    frames = truth.clone()
    frames[2] = gaussian_blur(truth[2:3], 1.5)[0]

    class Dimming(Untouched):
        info = dataclasses.replace(Untouched.info, name="dimming", passes_through=False, fuse=2)

        def run(self, frames, guidance, outputs):
            return frames[list(outputs)] - 0.05

    monkeypatch.setitem(PRESETS, "dimming", Preset(Dimming.info, lambda options: Dimming()))
    kept = unblur.restore(frames + 0.05, model="dimming", fuse="off")
    torch.testing.assert_close(kept, frames)
    for wanted in ("auto", 2, "1"):
        found = unblur.restore(frames + 0.05, model="dimming", fuse=wanted)
        assert float(psnr(found[2], truth[2])) > float(psnr(frames[2], truth[2])) + 2
    for wrong in (0, -1, 99, "often"):
        with pytest.raises(UsageError, match="use auto, off, or 1 to 8"):
            unblur.restore(frames, model="none", fuse=wrong)


def test_which_frames_are_fused_unasked():
    fused = {info.name for info in unblur.list_models() if info.fuse}
    assert {"motion-s", "motion-m", "focus-s", "focus-m", "maxim-stage1"} <= fused
    assert not fused & {"none", "atlas", "bsstnet-tiny"}
    enlarging = dataclasses.replace(preset("focus-s").info, scale=2)
    assert choose_radius("auto", enlarging) == 0
    assert choose_radius(3, enlarging) == 3


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (7, "7 names no file"),
        (b"in.mp4", "names no file: give os.fsdecode"),
        ("", "it is empty"),
        ("a\0.mp4", "NUL"),
        ("a\ud800.mp4", "half a character"),
        ("x" * 300 + ".mp4", "choose a shorter name"),
    ],
)
def test_what_names_no_file_is_refused(clip, tmp_path, name, message):
    calls = [lambda: unblur.restore(clip, name, model="none"), lambda: unblur.probe(name)]
    if isinstance(name, str):  # anything else is taken for frames
        calls.append(lambda: unblur.restore(name, tmp_path / "out.mkv"))
    for call in calls:
        with pytest.raises(UsageError, match=message):
            call()


@pytest.mark.parametrize("scale", ["2", 1.0, True])
def test_a_scale_is_a_whole_number(scale):
    with pytest.raises(UsageError, match="takes a whole number"):
        unblur.load_model("focus-s", scale=scale)
