"""Clips that are rendered once: every crop, mirror image and turn of them keeps its truth."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from unblur.errors import UsageError
from unblur.ops.warp import warp
from unblur.synth import SceneConfig, Source, TextureBank
from unblur.training.batches import Rendered
from unblur.training.pool import Pool, cropped, joined, oriented
from unblur.training.recipe import Recipe

CPU = torch.device("cpu")
SCENES = SceneConfig(motion=(3.0, 6.0), static=0.0, light=0.0, noise=0.0, compressed=0.0)


@pytest.fixture(scope="module")
def rendered():
    coarse = np.random.default_rng(0).integers(0, 255, (3, 3, 16, 16), np.uint8)
    images = torch.nn.functional.interpolate(
        torch.from_numpy(coarse).float(), (256, 256), mode="bicubic"
    )
    sources = tuple(Source(f"{i}.png") for i in range(3))
    return Rendered(SCENES, TextureBank(images.clamp(0, 255).to(torch.uint8), sources), 3, 64, CPU)


def warping_error(clip):
    """Median difference of the sharp frames from their neighbours, warped by the flow."""
    small = torch.nn.functional.avg_pool2d(clip.sharp[0], 4)  # (T, 3, h, w)
    errors = []
    for x, to, flow in (
        (small[:-1], small[1:], clip.flow_forward[0]),
        (small[1:], small[:-1], clip.flow_backward[0]),
    ):
        errors.append((warp(to, flow) - x).abs().flatten())
    return float(torch.cat(errors).median())


def test_flow_still_fits_the_frames_however_a_clip_is_turned(rendered, tmp_path):
    clip = Pool(rendered, tmp_path, 2, 64, 0).clip(0)
    upright = warping_error(clip)
    wrong = warping_error(oriented(clip, 0, False).__class__(
        clip.blurred, clip.sharp, -clip.flow_forward, -clip.flow_backward))  # fmt: skip
    assert upright < 0.3 * wrong
    for turn in range(8):
        for back in (False, True):
            assert warping_error(oriented(clip, turn, back)) == pytest.approx(upright, rel=0.02)


def test_a_clip_comes_from_the_folder_as_it_was_rendered(rendered, tmp_path):
    pool = Pool(rendered, tmp_path, 2, 64, 0)
    made, again = pool.clip(1), pool.clip(1)
    assert torch.equal(made.blurred, again.blurred)
    truth = rendered.batch(1, 1)
    assert (made.sharp - truth.sharp).abs().max() <= 0.5 / 255 + 1e-6
    assert (made.flow_forward - truth.flow_forward).abs().max() < 0.01


def test_the_seed_decides_whether_or_not_clips_were_there_before(rendered, tmp_path):
    first, second = (Pool(rendered, tmp_path / n, 3, 32, 5) for n in "ab")
    for seed in range(4):
        first.batch(2, seed)
    a, b = first.batch(2, 9), second.batch(2, 9)
    assert a.blurred.shape == (2, 3, 3, 32, 32)
    assert a.flow_forward.shape == (2, 2, 2, 8, 8)
    for name, x in vars(a).items():
        if x is not None:
            assert torch.equal(x, vars(b)[name])


def test_a_crop_holds_the_flow_of_its_own_place(rendered, tmp_path):
    clip = Pool(rendered, tmp_path, 1, 64, 0).clip(0)
    part = cropped(clip, 8, 20, 32)
    assert torch.equal(part.sharp, clip.sharp[..., 8:40, 20:52])
    assert torch.equal(part.flow_backward, clip.flow_backward[..., 2:10, 5:13])
    assert joined([part, part]).flow_forward.shape == (2, 2, 2, 8, 8)


def test_other_scenes_get_another_folder(rendered, tmp_path):
    other = Rendered(SceneConfig(), rendered.textures, 3, 64, CPU)
    assert Pool(rendered, tmp_path, 1, 64, 0).folder != Pool(other, tmp_path, 1, 64, 0).folder


@pytest.mark.parametrize(
    "fields", [{"pool": -1}, {"pool": 9, "crop": 300}, {"pool": 9, "crop": 30}]
)
def test_pools_that_cannot_be(fields):
    with pytest.raises(UsageError):
        Recipe("bsstnet-tiny", **fields)


def test_radii_are_kept_and_turn_with_the_frames(tmp_path):
    coarse = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 255
    bank = TextureBank(
        torch.nn.functional.interpolate(coarse, (256, 256)).to(torch.uint8),
        (Source("a.png"), Source("b.png")),
    )
    config = SceneConfig(mode="focus", layers=(3, 5), coc=(4.0, 9.0), in_focus=0.0)
    source = Rendered(config, bank, 2, 64, CPU)
    kept, truth = Pool(source, tmp_path, 1, 64, 0).clip(0), source.batch(1, 0)
    assert kept.radius is not None
    assert truth.radius is not None
    assert truth.radius.max() > 2
    assert (kept.radius - truth.radius).abs().max() <= 1 / 16 + 1e-6
    turned = oriented(kept, 3, True)
    assert turned.radius is not None
    assert torch.equal(turned.radius, kept.radius.flip(1).rot90(2, (-2, -1)))
    both = joined([kept, turned])
    assert both.radius is not None
    assert len(both.radius) == 2
