"""The network that sees its neighbours: any clip, the start from MAXIM, and what it looks at."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from unblur.models.aligned import Aligned, AlignedConfig, Flows, from_maxim
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
    coarse = F.interpolate(clip(1, 3, 10, 10), (80, 80), mode="bicubic")
    x = torch.stack([coarse[..., 8:72, 8 + 4 * t : 72 - 8 + 4 * t] for t in range(3)], 1)
    flow = still(x)
    flow[:, :, 0] = -1.0  # content moves four pixels to the left a frame
    net = network()
    blocks = F.pixel_unshuffle(x.flatten(0, 1), 2).unflatten(0, x.shape[:2])
    parts = list(net.neighbours(blocks, Flows(flow, -flow, blocks.shape[-2:], 2), 0))
    difference, path, speed = parts[:3]
    assert difference[..., 4:-4, 4:-4].abs().max() < 1e-5
    assert (path[:, 0] * 16 + 2).abs().max() < 1e-5
    assert (speed[..., 4:-4, 4:-4] * 16 - 2).abs().max() < 1e-5
    twice = parts[4]
    assert (twice[:, 0, 4:-4, 6:-6] * 16 + 4).abs().max() < 1e-4
    assert parts[-1].shape[1] == 15  # no frames before the first one
    assert not parts[-1].any()
