"""DaBiT without some of its ideas: each ablation lacks what it says, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from unblur.guidance.defocus import blur_mask
from unblur.models.dabit import TINY, Dabit
from unblur.restorers.base import ABLATIONS, Ablatable, Ablation, Guidance, Priors
from unblur.restorers.dabit import MEMORY, PRESETS, DabitRestorer
from unblur.restorers.none import PRESETS as NOTHING

SIDE = 48


def still(frames: Tensor) -> tuple[Tensor, Tensor]:
    flow = frames.new_zeros(len(frames) - 1, 2, *frames.shape[-2:])
    return flow, flow


@pytest.fixture(scope="module")
def restorer() -> DabitRestorer:
    """Propagates pixels and features; random weights."""
    torch.manual_seed(0)
    net = Dabit(replace(TINY, pixels="similar"))
    with torch.no_grad():
        for parameter in net.parameters():  # also where the network begins with zero
            parameter.add_(0.02 * torch.randn(parameter.shape).to(parameter))
    info = replace(PRESETS[-1].info, scale=1)
    return DabitRestorer(info, net.eval(), still, MEMORY["paper"])


@pytest.fixture(scope="module")
def clip() -> tuple[Tensor, Priors]:
    """A still image whose left half is out of focus in the middle frame, and only there."""
    generator = torch.Generator().manual_seed(1)
    sharp = 0.5 + 0.04 * torch.rand(1, 3, SIDE, SIDE, generator=generator)
    frames = sharp.repeat(3, 1, 1, 1)
    frames[1, ..., : SIDE // 2] = 0.52
    blur = torch.zeros(3, 1, SIDE, SIDE)
    blur[1, ..., : SIDE // 2] = 0.8
    return frames, Priors((0, 1, 2), torch.rand(3, 1, SIDE, SIDE, generator=generator), blur)


def guided(restorer: DabitRestorer, clip: tuple[Tensor, Priors], name: Ablation) -> Guidance:
    return restorer.ablated(name).guide(*clip)


def test_the_whole_model_replaces_pixels(restorer, clip):
    frames, priors = clip
    guidance = restorer.guide(frames, priors)
    assert torch.equal(guidance["blur"].cpu(), priors.blur)
    filled = guidance["mask"][1].cpu() < blur_mask(priors.blur)[1]
    assert filled.float().mean() > 0.2
    assert (guidance["frames"][1].cpu() - frames[0]).abs().mean() < 1e-3


@pytest.mark.parametrize("name", ["V1", "V3"])
def test_a_map_of_ones_makes_masks_of_ones_and_nothing_is_replaced(restorer, clip, name):
    guidance = guided(restorer, clip, name)
    assert guidance["blur"].min() == guidance["mask"].min() == 1
    assert torch.equal(guidance["frames"].cpu(), clip[0])


def test_ones_with_real_masks_still_replaces(restorer, clip):
    guidance, whole = guided(restorer, clip, "V1b"), restorer.guide(*clip)
    assert guidance["blur"].min() == 1
    assert torch.equal(guidance["mask"], whole["mask"])
    assert torch.equal(guidance["frames"], whole["frames"])


def test_without_propagation_the_map_is_the_real_one(restorer, clip):
    frames, priors = clip
    guidance = guided(restorer, clip, "V2")
    assert torch.equal(guidance["blur"].cpu(), priors.blur)
    assert torch.equal(guidance["mask"].cpu(), blur_mask(priors.blur))
    assert torch.equal(guidance["frames"].cpu(), frames)


def test_no_ablation_equals_another_or_the_whole(restorer, clip):
    frames, priors = clip
    made = [restorer.run(frames, restorer.guide(frames, priors), [1])]
    for name in ABLATIONS:
        other = restorer.ablated(name)
        assert isinstance(other, Ablatable)
        made.append(other.run(frames, other.guide(frames, priors), [1]))
    for i, one in enumerate(made):
        assert one.isfinite().all()
        assert all((one - other).abs().max() > 1e-5 for other in made[:i])
    again = restorer.run(frames, restorer.guide(frames, priors), [1])
    assert torch.equal(made[0], again)  # the restorer stays as it was


def test_not_every_restorer_can_be_ablated():
    from unblur.restorers.base import LoadOptions

    none = NOTHING[0].load(LoadOptions(torch.device("cpu"), "fp32", None))
    assert not isinstance(none, Ablatable)
