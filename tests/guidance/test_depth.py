"""Depth from the image and from a network."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from unblur.errors import MediaError, UsageError, WeightsError
from unblur.guidance.coc import DefocusMap
from unblur.guidance.depth import DisparityDepth, depth_estimator, per_frame
from unblur.guidance.depth_anything import load_depth_anything, network_size


def test_the_stand_in_remembers_until_told_to_forget() -> None:
    frames = torch.rand(4, 3, 40, 48, generator=torch.Generator().manual_seed(0))
    stand_in = depth_estimator("builtin")
    assert isinstance(stand_in, DefocusMap)
    whole = stand_in(frames)
    stand_in.restart()
    parts = torch.cat([stand_in(frames[:1]), stand_in(frames[1:])])
    assert torch.equal(whole, parts)
    assert whole.shape == (4, 1, 40, 48)


def test_unknown_depth_names_the_choices() -> None:
    with pytest.raises(UsageError, match=r"'nonsense'.*builtin.*depth-anything"):
        depth_estimator("nonsense")


def ramp(frame: Tensor) -> Tensor:
    """Nearer to the right, in a unit that the brightness of the frame sets."""
    unit = 3 + 8 * float(frame.mean())
    return unit * torch.linspace(0, 1, frame.shape[-1]).expand(1, 1, *frame.shape[-2:]) + unit


def test_units_that_change_with_each_frame_do_not_flicker() -> None:
    brightness = 0.5 + 0.02 * torch.randn(12, generator=torch.Generator().manual_seed(3))
    frames = brightness.view(-1, 1, 1, 1).expand(-1, 3, 16, 32)
    depth = DisparityDepth(ramp)(frames)
    assert (depth[:, 0, :, 0] > 0.9).all()  # far on the left
    assert (depth[:, 0, :, -1] < 0.1).all()
    assert float(depth.diff(dim=0).abs().mean()) < 0.02
    assert depth.min() >= 0
    assert depth.max() <= 1


@pytest.mark.parametrize("bad", [torch.zeros(1, 1, 8, 8), torch.full((1, 1, 8, 8), torch.nan)])
def test_no_depth_is_said(bad: Tensor) -> None:
    with pytest.raises(MediaError, match="finds none"):
        DisparityDepth(lambda _: bad)(torch.rand(1, 3, 8, 8))
    with pytest.raises(MediaError, match="one value only"):
        per_frame(bad)


def test_each_frame_on_its_own_is_stretched_whole() -> None:
    near = torch.rand(3, 1, 5, 6) * torch.tensor([1.0, 5.0, 0.1]).view(3, 1, 1, 1) + 2
    depth = per_frame(near)
    assert torch.equal(depth.amin((1, 2, 3)), torch.zeros(3))
    assert torch.equal(depth.amax((1, 2, 3)), torch.ones(3))
    assert int(depth[0].argmin()) == int(near[0].argmax())


def test_without_transformers_the_install_line_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UsageError, match=r"pip install 'unblur\[priors\]'"):
        depth_estimator("depth-anything")


class FakeNetwork(torch.nn.Module):
    """Gives the mean of the colours, at its own size; notes how it was called."""

    call: dict[str, object]

    @classmethod
    def from_pretrained(cls, name: str, **options: object) -> FakeNetwork:
        cls.call = {"name": name, **options}
        if name == "missing":
            raise OSError("not here")
        return cls()

    def forward(self, pixel_values: Tensor) -> SimpleNamespace:
        FakeNetwork.call["size"] = tuple(pixel_values.shape[-2:])
        return SimpleNamespace(predicted_depth=pixel_values.mean(1) + 3)


def test_depth_anything_is_only_taken_from_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = SimpleNamespace(AutoModelForDepthEstimation=FakeNetwork)
    monkeypatch.setitem(sys.modules, "transformers", fake)
    frames = torch.linspace(0, 1, 64).expand(2, 3, 36, 64)
    near = load_depth_anything()(frames)
    assert near.shape == (2, 1, 36, 64)
    assert (near.diff(dim=-1) >= -1e-3).all()
    call = FakeNetwork.call
    assert call["local_files_only"] is True
    assert call["use_safetensors"] is True
    assert call["size"] == network_size(36, 64) == (518, 924)
    load_depth_anything(official=True)(frames)
    assert FakeNetwork.call["size"] == (294, 518)
    depth = depth_estimator("depth-anything")(frames)
    assert depth[0, 0, 0, 0] > depth[0, 0, 0, -1]  # bright was near
    monkeypatch.setattr("unblur.guidance.depth_anything.REPOSITORY", "missing")
    with pytest.raises(WeightsError, match="hf download missing"):
        load_depth_anything()
