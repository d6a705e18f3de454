"""The network that sees its neighbours: any clip, the start from MAXIM, and what it looks at."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from unblur.models.aligned import (
    Aligned,
    AlignedClip,
    AlignedConfig,
    from_maxim,
    grown,
)
from unblur.models.maxim import Maxim, MaximConfig

TILES = (4, 4, 2)
CONFIG = AlignedConfig(width=8, tiles=TILES, neighbours=2)


def still(frames: Tensor) -> Tensor:
    """Flow of a clip in which nothing moves."""
    B, T, _, H, W = frames.shape
    return frames.new_zeros(B, T - 1, 2, -(-H // 4), -(-W // 4))


def network(config: AlignedConfig = CONFIG) -> Aligned:
    torch.manual_seed(0)
    return Aligned(config).eval()


def clip(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(1))


@settings(max_examples=12, deadline=None)
@given(st.integers(1, 4), st.integers(1, 70), st.integers(1, 70), st.sampled_from([1, 2, 4]))
def test_any_clip_comes_back_in_its_size(frames, height, width, scale):
    x = clip(1, frames, 3, height, width)
    net = network(AlignedConfig(scale=scale, width=8, tiles=TILES, neighbours=1))
    with torch.no_grad():
        y = net(x, still(x), still(x))
    assert y.shape == x.shape
    assert y.isfinite().all()


def test_frames_asked_for_are_those_of_the_whole_clip():
    x = clip(2, 4, 3, 40, 56)
    flow = torch.randn(2, 3, 2, 10, 14, generator=torch.Generator().manual_seed(2))
    net = network()
    with torch.no_grad():
        assert torch.equal(net(x, flow, -flow)[:, [3, 1]], net(x, flow, -flow, [3, 1]))


def test_only_so_many_neighbours_matter():
    x = clip(1, 7, 3, 32, 32)
    net = network()
    with torch.no_grad():
        before = net(x, still(x), still(x), [3])
        x[:, [0, 6]] = 0
        assert torch.equal(net(x, still(x), still(x), [3]), before)
        x[:, 1] = 0
        assert not torch.equal(net(x, still(x), still(x), [3]), before)


@pytest.mark.parametrize("neighbours", [0, 2])
def test_starts_as_maxim_at_half_size(neighbours):
    torch.manual_seed(0)
    maxim = Maxim(MaximConfig(width=8, tiles=TILES)).eval()
    config = AlignedConfig(width=8, tiles=TILES, neighbours=neighbours)
    net = network(config)
    net.load_state_dict(from_maxim(maxim.state_dict(), config))
    small = clip(3, 3, 32, 48)  # multiples of 16: no padding, which MAXIM centres
    x = small.repeat_interleave(2, -1).repeat_interleave(2, -2)[None]
    flow = torch.randn(1, 2, 2, 16, 24, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        got = net(x, flow, -flow)[0]
        wanted = maxim(small).repeat_interleave(2, -1).repeat_interleave(2, -2)
    torch.testing.assert_close(got, wanted, rtol=0, atol=1e-5)


def test_a_moved_neighbour_looks_like_the_frame_itself():
    coarse = F.interpolate(clip(1, 3, 10, 12), (80, 96), mode="bicubic")
    x = torch.stack([coarse[..., 8:72, 8 + 4 * t : 72 + 4 * t] for t in range(3)], 1)
    flow = still(x)
    flow[:, :, 0] = -1.0  # content moves four pixels to the left a frame
    _, *parts = AlignedClip(CONFIG, x, None, flow, -flow).seen(0)
    difference, path, speed = parts[:3]
    assert difference[..., 4:-4, 4:-4].abs().max() < 1e-5
    assert (path[:, 0, :, 8:-8] * 16 + 2).abs().max() < 1e-5
    assert (speed[..., 4:-4, 8:-8] * 16 - 2).abs().max() < 1e-5
    twice = parts[4]
    assert (twice[:, 0, 4:-4, 10:-10] * 16 + 4).abs().max() < 1e-4
    assert parts[-1].shape[1] == 15  # no frames before the first one
    assert not parts[-1].any()


def test_a_neighbour_that_is_not_aligned_is_seen_as_it_is():
    x = clip(1, 3, 3, 64, 96)
    flow = torch.randn(1, 2, 2, 16, 24, generator=torch.Generator().manual_seed(2))
    config = replace(CONFIG, alignment="none")
    here, *parts = AlignedClip(config, x, None, flow, -flow).seen(0)
    for number, neighbour in ((0, 1), (3, 2)):
        difference, path, speed = parts[number : number + 3]
        wanted = F.pixel_unshuffle(x[:, neighbour], 2) - here
        torch.testing.assert_close(difference, wanted, rtol=0, atol=1e-5)
        assert not path.any()
        assert speed.any()


@pytest.mark.parametrize("alignment", ["flow", "none"])
def test_without_speeds_nothing_else_changes(alignment):
    x = clip(1, 3, 3, 64, 96)
    flow = torch.randn(1, 2, 2, 16, 24, generator=torch.Generator().manual_seed(2)) / 8
    config = replace(CONFIG, alignment=alignment)
    _, *told = AlignedClip(config, x, None, flow, -flow).seen(1)
    _, *untold = AlignedClip(replace(config, speeds=False), x, None, flow, -flow).seen(1)
    seen = [told[i : i + 3] for i in (0, 4)]  # one neighbour either way, and one that is not there
    blind = [untold[i : i + 3] for i in (0, 4)]
    for (*same, speed), (*other, none) in zip(seen, blind, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(same, other, strict=True))
        assert speed.any()
        assert not none.any()
        assert none.shape == speed.shape


def test_a_neighbour_that_the_flow_does_not_find_is_not_seen():
    x = clip(1, 2, 3, 128, 128)
    there = torch.zeros(1, 1, 2, 32, 32)
    there[:, :, 0, :, 16:] = 3.0  # twelve pixels, and the way back says nothing of them
    _, *parts = AlignedClip(CONFIG, x, None, there, torch.zeros_like(there)).seen(0)
    difference, path, speed = parts[:3]
    for part in (difference, path, speed):
        assert not part[..., 44:].any()
    assert difference[..., :24].abs().mean() > 0.1


GUIDED = AlignedConfig(width=8, tiles=TILES, neighbours=1, guided=True, enlarges=True)


def test_what_is_in_focus_is_left_alone_and_the_rest_is_not():
    x, radius = clip(1, 2, 3, 32, 48), torch.zeros(1, 2, 1, 32, 48)
    radius[..., 24:] = 5.0
    with torch.no_grad():
        y = network(GUIDED)(x, still(x), still(x), radius=radius)
    assert torch.equal(y[..., :24], x[..., :24])
    assert ((y - x)[..., 24:].abs().amax(2) > 0).float().mean() > 0.9


def test_radii_of_neighbours_come_along_with_their_images():
    radius = torch.rand(1, 2, 1, 64, 64, generator=torch.Generator().manual_seed(3))
    x = radius.expand(-1, -1, 3, -1, -1)
    flow = torch.full((1, 1, 2, 16, 16), 0.7)
    seen = AlignedClip(GUIDED, x, radius, flow, -flow).seen(0)
    blocks, difference, *_, own, later, earlier = seen
    assert (own * 16 - blocks[:, :4].mean(1)).abs().max() < 1e-6
    shown = (blocks + difference)[:, :4].mean(1)
    assert (later * 16 - shown)[..., 8:-8, 8:-8].abs().max() < 1e-6
    assert not earlier.any()  # no frame before the first one


LONELY = AlignedConfig(width=8, tiles=TILES, neighbours=0, guided=True, enlarges=True)


def test_without_neighbours_no_flow_is_needed_and_other_frames_do_not_matter():
    x, radius = clip(1, 3, 3, 32, 48), torch.full((1, 3, 1, 32, 48), 5.0)
    net = network(LONELY)
    with torch.no_grad():
        whole = net(x, radius=radius)
        alone = net(x[:, 1:2], radius=radius[:, 1:2])
    torch.testing.assert_close(whole[:, 1:2], alone, rtol=0, atol=1e-6)
    with pytest.raises(ValueError, match="needs optical flow"):
        network(GUIDED)(x, radius=radius)


@settings(max_examples=8, deadline=None)
@given(st.integers(1, 3), st.integers(1, 50), st.integers(1, 50))
def test_twice_the_size(frames, height, width):
    x = clip(1, frames, 3, height, width)
    radius = torch.ones_like(x[:, :, :1])
    with torch.no_grad():
        y = network(GUIDED)(x, still(x), still(x), [0], radius, enlarge=True)
    assert y.shape == (1, 1, 3, 2 * height, 2 * width)
    assert y.isfinite().all()


def test_grows_out_of_a_network_that_is_not_guided():
    plain = AlignedConfig(width=8, tiles=TILES, neighbours=1)
    net, more = network(plain), network(GUIDED)
    more.load_state_dict(grown(net.state_dict(), GUIDED))
    x = clip(1, 3, 3, 32, 32)
    flow = torch.randn(1, 2, 2, 8, 8, generator=torch.Generator().manual_seed(2))
    radius = torch.full((1, 3, 1, 32, 32), 9.0)
    with torch.no_grad():
        before = net(x, flow, -flow)
        after = more(x, flow, -flow, radius=radius)
        large = more(x, flow, -flow, radius=radius, enlarge=True)
    torch.testing.assert_close(after, before, rtol=0, atol=1e-5)
    flat = F.interpolate(before[0], scale_factor=2, mode="bicubic")
    torch.testing.assert_close(large[0], flat, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("config", "told"),
    [(CONFIG, {"radius": torch.ones(1)}), (GUIDED, {}), (CONFIG, {"enlarge": True})],
)
def test_guidance_that_does_not_fit_is_refused(config, told):
    x = clip(1, 2, 3, 32, 32)
    with pytest.raises(ValueError, match="guided"):
        network(config)(x, still(x), still(x), **told)


@pytest.mark.parametrize("told", [GUIDED, AlignedConfig(width=8, tiles=TILES, neighbours=1)])
def test_forgets_neighbours_that_it_no_longer_sees(told):
    """Also the radius: among the inputs it would stand where a neighbour stood."""
    net, less = network(told), network(LONELY)
    less.load_state_dict(grown(net.state_dict(), LONELY))
    x = clip(1, 1, 3, 32, 32)
    near, far = (torch.full((1, 1, 1, 32, 32), r) for r in (0.0, 9.0))
    everywhere = torch.ones_like(near)
    with torch.no_grad():
        before = net(x, still(x), still(x), radius=near if told.guided else None, mask=everywhere)
        after = less(x, radius=far, mask=everywhere)
    torch.testing.assert_close(after, before, rtol=0, atol=1e-5)
