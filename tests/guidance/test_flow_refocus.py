"""Flow corrected where a lens has blurred."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from unblur import weights
from unblur.guidance.flow import dis_flow
from unblur.guidance.flow_refocus import (
    load_flow_refocus,
    load_flow_refocus_m,
    load_flow_refocus_s,
    mask_for,
    refocused_flow,
)
from unblur.models.flow_refocus import OFFICIAL, SMALL, FlowRefocus
from unblur.weights.switches import KEY, switches_of


def fresh(seed: int = 0) -> FlowRefocus:
    """A network in which no layer is zero."""
    torch.manual_seed(seed)
    net = FlowRefocus(SMALL).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            if not parameter.any():
                parameter.normal_(0, 0.05)
    return net


@settings(max_examples=8, deadline=None)
@given(st.integers(1, 4), st.integers(1, 70), st.integers(1, 70))
def test_any_size_and_length(length: int, height: int, width: int) -> None:
    generator = torch.Generator().manual_seed(0)
    frames = torch.rand(length, 3, height, width, generator=generator)
    radius = 4 * torch.rand(length, 1, height, width, generator=generator)
    flows = dis_flow(frames)
    for new, old in zip(refocused_flow(fresh(), frames, *flows, radius), flows, strict=True):
        assert new.shape == old.shape
        assert new.isfinite().all()


def test_only_what_is_blurred_changes() -> None:
    generator = torch.Generator().manual_seed(0)
    frames = torch.rand(3, 3, 66, 94, generator=generator)
    radius = torch.zeros(3, 1, 66, 94)
    radius[:, :, 21:, 50:] = 3.0
    flows = dis_flow(frames)
    blurred = torch.zeros(17, 24, dtype=torch.bool)
    blurred[5:, 12:] = True  # elements with any blurred pixel
    for new, old in zip(refocused_flow(fresh(), frames, *flows, radius), flows, strict=True):
        assert torch.equal(new[..., ~blurred], old[..., ~blurred])
        assert (new != old)[..., blurred].float().mean() > 0.9


@pytest.mark.parametrize("threshold", [0.1, 1.0])
def test_an_element_is_blurred_if_any_of_its_pixels_is(threshold: float) -> None:
    radius = torch.full((1, 2, 1, 10, 9), threshold)
    radius[0, 0, 0, 9, 8] = threshold + 0.01
    mask = mask_for(radius, threshold, 4)
    assert mask.shape == (1, 2, 1, 3, 3)
    assert mask.sum() == 1
    assert mask[0, 0, 0, 2, 2] == 1


@pytest.mark.parametrize("load", [load_flow_refocus_s, load_flow_refocus_m])
@pytest.mark.parametrize("stride", [1, 4])
def test_what_ships_mends_flow_beside_an_edge_of_motion_where_it_is_blurred(
    load: Callable[[torch.device], FlowRefocus], stride: int, device: torch.device
) -> None:
    """A texture moves right by 8 pixels; in two strips the flow is said to be none."""
    coarse = torch.rand(1, 3, 32, 48, generator=torch.Generator().manual_seed(0))
    texture = F.interpolate(coarse, scale_factor=8, mode="bilinear")
    frames = torch.cat((texture[..., 8:], texture[..., :-8]))  # (2, 3, 256, 376)
    true = torch.zeros(1, 2, 64, 94)
    true[:, 0] = 2
    wrong = true.clone()
    wrong[..., 30:34] = 0
    wrong[..., 60:64] = 0
    radius = torch.zeros(2, 1, 256, 376)
    radius[..., 100:180] = 4  # around the first strip
    if stride == 1:
        true, wrong = (4 * F.interpolate(x, scale_factor=4) for x in (true, wrong))
    net = load(device)
    forward, _ = refocused_flow(net, frames, wrong, -true, radius, stride=stride)
    r = 4 // stride
    error = (forward - true)[..., 8 * r : -8 * r, 26 * r : 38 * r].norm(dim=1).mean()
    exact = stride == 4 and load is load_flow_refocus_s
    assert error < (0.1 if exact else 0.2) * r  # 0.67 r before
    assert torch.equal(forward[..., 50 * r :], wrong[..., 50 * r :])


@pytest.mark.parametrize("size", [(3, 41, 30), (2, 1, 2), (1, 20, 20)])
def test_flow_of_pixels_changes_where_pixels_are_blurred(size: tuple[int, int, int]) -> None:
    T, H, W = size
    frames = torch.rand(T, 3, H, W, generator=torch.Generator().manual_seed(0))
    radius = torch.zeros(T, 1, H, W)
    radius[..., W // 2 :] = 3
    flows = dis_flow(frames, stride=1)
    for new, old in zip(
        refocused_flow(fresh(), frames, *flows, radius, stride=1), flows, strict=True
    ):
        assert new.shape == old.shape
        assert torch.equal(new[..., : W // 2], old[..., : W // 2])
        assert min(H, W) < 4 or T == 1 or not torch.equal(new, old)
    with pytest.raises(ValueError, match="takes 1 or 4"):
        refocused_flow(fresh(), frames, *flows, radius, stride=2)


def test_a_file_of_the_whole_network_is_known_as_such(tmp_path: Path) -> None:
    for recurrent in (False, True):
        state = FlowRefocus(replace(SMALL, recurrent=recurrent)).state_dict()
        weights.save(tmp_path / "w.safetensors", state, {})
        assert load_flow_refocus_s(path=tmp_path / "w.safetensors").config.recurrent == recurrent


@pytest.mark.parametrize("flips", [True, False])
def test_the_recurrent_network_runs_as_it_was_trained(
    flips: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Published weights read frames forward in both directions; those trained here do not."""
    monkeypatch.setenv("UNBLUR_HOME", str(tmp_path))
    config = replace(OFFICIAL, channels=8, deform_groups=8, flip_frames=flips)
    path = weights.user_folder() / "flow-refocus.safetensors"
    head = {KEY: json.dumps(switches_of(config))}
    weights.save(path, FlowRefocus(config).state_dict(), head)
    assert load_flow_refocus().config == config


def test_the_whole_network_is_used_where_none_was_converted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNBLUR_HOME", str(tmp_path))
    assert load_flow_refocus().config.recurrent
    assert not load_flow_refocus_s().config.recurrent


def test_a_converted_network_runs_as_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNBLUR_HOME", str(tmp_path))
    path = weights.user_folder() / "flow-refocus.safetensors"
    weights.save(path, FlowRefocus(OFFICIAL).state_dict(), {"name": "flow-refocus"})
    assert load_flow_refocus().config == OFFICIAL
