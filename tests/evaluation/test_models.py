"""Models as rows: what users write, and what is run."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor

import unblur
from unblur.errors import UsageError, WeightsError
from unblur.evaluation.clip import Clip
from unblur.evaluation.models import Choice, ClipFrame, Rows, choose_focus, methods
from unblur.evaluation.run import choose_depth, choose_methods
from unblur.guidance.flow import dis_flow
from unblur.models.dabit import TINY, Dabit
from unblur.restorers.base import LoadOptions, Preset
from unblur.restorers.dabit import MEMORY, PRESETS, DabitRestorer
from unblur.restorers.registry import PRESETS as REGISTRY
from unblur.synth import held_out

SIDE = 48


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> Dabit:
    """A preset `tiny`: a narrow DaBiT of random weights that also enlarges."""
    torch.manual_seed(0)
    net = Dabit(replace(TINY, pixels="similar")).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape))
    info = replace(PRESETS[-1].info, name="tiny", scale=1, scales=(1, 2))

    def load(options: LoadOptions) -> DabitRestorer:
        wanted = replace(info, scale=options.scale or 1)
        return DabitRestorer(wanted, net, partial(dis_flow, stride=1), MEMORY["paper"])

    monkeypatch.setitem(REGISTRY, "tiny", Preset(info, load))
    monkeypatch.setitem(
        REGISTRY, "doubler", Preset(replace(info, name="doubler", scale=2, scales=(2,)), load)
    )
    return net


def texture(frames: int, scale: int) -> Tensor:
    image = held_out().images[7:8, :, : scale * SIDE, : scale * SIDE + 8].float() / 255
    return torch.cat([image[..., t : t + scale * SIDE] for t in range(frames)])


@pytest.fixture
def clip() -> Clip:
    """Four frames that move, the second and third wanted, its depth known."""
    sharp = texture(4, 1)
    soft = torch.nn.functional.avg_pool2d(
        torch.nn.functional.pad(sharp, [2] * 4, mode="reflect"), 5, 1
    )
    depth = torch.linspace(0, 1, SIDE).expand(4, 1, SIDE, SIDE)
    return Clip("clip", soft, sharp, (1,), watched=(1, 2), depth=depth)


def by_name(found):
    return {method.name: method for method in found}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("auto", Choice("motion-m", "motion-m")),
        ("none@linear", Choice("none@linear", "none", light="linear")),
        ("tiny@alone@depth", Choice("tiny@alone@depth", "tiny", depth="depth", alone=True)),
    ],
)
def test_models_as_users_write_them(text, expected):
    assert Choice.parse(text) == expected


@pytest.mark.parametrize(
    ("text", "label", "weights", "light"),
    [
        ("none=a/b@x.safetensors", "none=b@x.safetensors", "b@x.safetensors", None),
        ("none=w.safetensors@encoded", "none=w.safetensors@encoded", "w.safetensors", "encoded"),
    ],
)
def test_weights_of_any_file(text, label, weights, light):
    choice = Choice.parse(text)
    assert (choice.text, choice.light) == (label, light)
    assert choice.weights is not None
    assert choice.weights.name == weights


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("maxim-stage2", "did you mean"),
        ("none@gamma", "linear, encoded, depth, coc, depth-anything, alone or unfused"),
        ("none@linear@encoded", "one light"),
        ("none=", "name the weights"),
    ],
)
def test_models_that_are_none(text, said):
    with pytest.raises(UsageError, match=said):
        Choice.parse(text)


def test_weights_that_are_not_there(tmp_path):
    with pytest.raises(WeightsError):
        methods(f"maxim-stage1={tmp_path / 'none.safetensors'}", Rows(), "cpu")


def test_a_model_restores_the_wanted_frames(clip):
    (method,) = methods("none@linear", Rows(), "cpu")
    restored, seconds = method.timed(clip)
    torch.testing.assert_close(restored, clip.blurred[1:3], atol=1e-5, rtol=0)
    assert seconds > 0
    assert method.parameters == 0


def test_rows_of_a_model_that_is_guided(clip, tiny):
    found = by_name(methods("tiny", Rows(depth="depth", ablate=True), "cpu"))
    assert list(found) == ["tiny", "tiny@depth", "tiny V1", "tiny V1b", "tiny V2", "tiny V3"]
    size = sum(weight.numel() for weight in tiny.parameters())
    assert {method.parameters for method in found.values()} == {size}
    whole = found["tiny"].restore(clip)
    assert whole.shape == clip.truth.shape
    for name, method in found.items():
        assert torch.equal(method.restore(clip), whole) == (name == "tiny")
    real = replace(clip, depth=None)
    assert "depth" in found["tiny@depth"].misses(real)
    assert found["tiny"].misses(real) is None


def test_the_true_blur_guides_where_it_is_known(clip):
    known = replace(clip, radius=12 * clip.depth)
    depth, blur = choose_focus("coc", known, torch.device("cpu"))(
        ClipFrame(clip.blurred[2], 2), None
    )
    assert torch.equal(depth[0], clip.depth[2])
    torch.testing.assert_close(blur, depth)  # a map of 1 is a radius of 12 px
    (method,) = methods("tiny@coc", Rows(), "cpu")
    assert "rendered clips only" in method.misses(clip)
    assert method.misses(known) is None
    assert not torch.equal(method.restore(known), methods("tiny", Rows(), "cpu")[0].restore(known))


def test_only_what_can_be_ablated_or_guided_has_such_rows():
    rows = Rows(depth="depth", ablate=True)
    assert [m.name for m in choose_methods(["none", "tiny"], rows, "cpu", "auto")][-8:] == [
        "wiener", "none", "tiny", "tiny@depth", "tiny V1", "tiny V1b", "tiny V2", "tiny V3",
    ]  # fmt: skip
    with pytest.raises(UsageError, match="none of the models"):
        choose_methods(["none"], rows, "cpu", "auto")


def test_alone_sees_no_other_frame(clip):
    (whole,) = methods("tiny", Rows(), "cpu")
    (alone,) = methods("tiny@alone", Rows(), "cpu")
    assert (whole.whole_clip, alone.whole_clip) == (True, False)
    changed = replace(clip, blurred=clip.blurred.clone())
    changed.blurred[2] = 0.5
    assert torch.equal(alone.restore(clip)[0], alone.restore(changed)[0])
    assert not torch.equal(whole.restore(clip)[0], whole.restore(changed)[0])


def test_twice_the_size_beside_enlarging_afterwards(clip):
    large = replace(clip, sharp=texture(4, 2))
    found = by_name(methods("tiny", Rows(scale=2), "cpu") + methods("none", Rows(scale=2), "cpu"))
    assert list(found) == ["tiny", "tiny + bicubic", "none + bicubic"]
    for method in found.values():
        assert method.restore(large).shape == (2, 3, 2 * SIDE, 2 * SIDE)
    assert list(by_name(methods("doubler", Rows(scale=2), "cpu"))) == ["doubler"]
    with pytest.raises(UsageError, match="add --scale 2"):
        methods("doubler", Rows(), "cpu")


def test_where_depth_comes_from(tmp_path):
    assert choose_depth("builtin") == (None, "builtin")
    for word in ("depth", "coc", "depth-anything"):
        assert choose_depth(word) == (None, word)
    assert choose_depth(tmp_path) == (tmp_path, "depth")
    with pytest.raises(UsageError, match="folder of depth maps that exists"):
        choose_depth(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="use 1 or 2"):
        unblur.evaluate("synth-focus", models=[], scale=3)


def test_models_are_measured_fused_as_they_are_run(clip):
    (off,) = methods("tiny", Rows(fuse="off"), "cpu")
    (unfused,) = methods("tiny@unfused", Rows(fuse=1), "cpu")
    (fused,) = methods("tiny", Rows(fuse=1), "cpu")
    assert torch.equal(unfused.restore(clip), off.restore(clip))
    assert fused.restore(clip).shape == clip.truth.shape
    assert not torch.equal(fused.restore(clip), off.restore(clip))
    (single,) = methods("none", Rows(fuse=1), "cpu")
    (alone,) = methods("none@alone", Rows(fuse=1), "cpu")
    assert (single.whole_clip, alone.whole_clip) == (True, False)
