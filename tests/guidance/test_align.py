"""Motion between sharp frames, and images moved along it."""

from __future__ import annotations

import pytest
import torch

from unblur.guidance.align import DisAlignment
from unblur.ops.fusion import halved
from unblur.ops.gaussian import gaussian_blur


def texture(height, width):
    rough = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0))
    return gaussian_blur(rough, 2.0)[0] * 2 - 0.5


def test_flow_is_in_pixels_of_half_size_and_points_to_the_other_frame():
    whole = texture(130, 170)
    here, there = whole[:, 10:, 10:], whole[:, 6:-4, 2:-8]  # moved by 8 to the right, 4 down
    align = DisAlignment()
    flow = align.flow(align.look(halved(here)), align.look(halved(there)))
    middle = flow[:, 15:45, 15:65].median(-1).values.median(-1).values
    torch.testing.assert_close(middle, torch.tensor([4.0, 2.0]).to(middle), atol=0.1, rtol=0)


def test_a_guess_leads_to_motion_that_is_out_of_reach():
    whole = texture(64, 200)
    here, there = whole[..., 100:164], whole[..., 60:124]  # moved by 40 to the right
    align = DisAlignment()
    seen = align.look(halved(here)), align.look(halved(there))
    guess = torch.tensor([19.0, 0.0])[:, None, None].expand(2, 32, 32)
    truth = torch.tensor([20.0, 0.0], device="cpu")  # where OpenCV leaves it

    def error(flow):  # where the other frame shows the same
        return float((flow[:, 8:24, 2:8].median(-1).values.median(-1).values - truth).norm())

    assert error(align.flow(*seen)) > 3
    assert error(align.flow(*seen, guess)) < 0.3


@pytest.mark.parametrize("height", [540, 1080])
def test_quick_motion_upwards_is_found_all_over_tall_frames(height):
    """Those of half size, of 1080p and of 2160p: in strips it was lost where they meet."""
    dice = torch.Generator().manual_seed(0)
    coarse, rough = torch.rand(2, 1, 3, 2 * (height + 60), 400, generator=dice)
    coarse = gaussian_blur(coarse, 30.0)
    coarse = 0.5 + 0.2 * (coarse - coarse.mean()) / coarse.std()
    whole = (coarse + 0.2 * (gaussian_blur(rough, 2.0) - 0.5))[0].clamp(0, 1)
    align = DisAlignment()
    here, there = (align.look(halved(whole[:, top : top + 2 * height])) for top in (0, 120))
    found = (
        align.flow(here, there)[:, 80:, 20:180].cpu() - torch.tensor([0.0, -60.0])[:, None, None]
    )
    right = (found.norm(dim=0) < 0.5).float().mean(1)  # of each row
    assert right.unfold(0, 20, 20).mean(1).min() > 0.8


@pytest.mark.parametrize("size", [(1, 1), (7, 20), (64, 65)])
def test_frames_of_any_size(size):
    align = DisAlignment()
    seen = align.look(halved(torch.rand(3, *size)))
    flow = align.flow(seen, seen)
    assert flow.shape[-2] >= (size[0] + 1) // 2
    assert flow.shape[-1] >= (size[1] + 1) // 2


def test_taking_from_whole_pixels_is_exact_and_the_border_goes_on():
    image = texture(20, 30)
    rows, columns = torch.meshgrid(torch.arange(-2.0, 22), torch.arange(-3.0, 33), indexing="ij")
    taken = DisAlignment().take(image, columns, rows)
    expected = torch.nn.functional.pad(image[None], (3, 3, 2, 2), mode="replicate")[0]
    torch.testing.assert_close(taken, expected, atol=1e-6, rtol=0)


def test_between_pixels_it_is_bicubic():
    image = texture(20, 30)
    rows, columns = torch.meshgrid(
        torch.arange(4.0, 16) + 0.25, torch.arange(4.0, 26) - 0.375, indexing="ij"
    )
    grid = torch.stack((2 * (columns + 0.5) / 30 - 1, 2 * (rows + 0.5) / 20 - 1), -1)
    expected = torch.nn.functional.grid_sample(
        image[None], grid[None], mode="bicubic", align_corners=False
    )[0]
    taken = DisAlignment().take(image, columns, rows)
    torch.testing.assert_close(taken, expected, atol=1e-4, rtol=0)
