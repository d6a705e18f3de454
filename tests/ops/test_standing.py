"""What stands still before something that moves is found, and nothing else is."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from unblur.ops.gaussian import gaussian_blur
from unblur.ops.standing import standing

SIZE = (96, 160)


def pan(frames: int = 5, step: tuple[int, int] = (3, 5)) -> Tensor:
    """A texture that moves by whole pixels, (T, 3, H, W)."""
    dice = torch.Generator().manual_seed(0)
    texture = gaussian_blur(torch.rand(1, 3, SIZE[0] + 40, SIZE[1] + 40, generator=dice), 1.5)[0]
    texture = (texture - texture.min()) / (texture.max() - texture.min())
    parts = [
        texture[:, step[0] * t : step[0] * t + SIZE[0], step[1] * t : step[1] * t + SIZE[1]]
        for t in range(frames)
    ]
    return torch.stack(parts)


def strokes() -> Tensor:
    """(1, H, W): a frame and a bar, 3 pixels wide, as of a letter."""
    ink = torch.zeros(1, *SIZE)
    ink[:, 30:54, 40:64] = 1
    ink[:, 33:51, 43:61] = 0
    ink[:, 40:43, 40:64] = 1
    return ink


def lettered(frames: Tensor) -> Tensor:
    ink = strokes()
    rim = F.max_pool2d(ink[None], 3, 1, 1)[0]
    return (frames * (1 - rim)).lerp(torch.ones(3, 1, 1), ink)


def faint(frames: Tensor, opacity: float) -> Tensor:
    return frames.lerp(torch.ones(3, 1, 1), opacity * strokes())


def area(frames: Tensor, t: int) -> float:
    """Share of an image that is said to stand still."""
    found = standing(frames, t)
    return 0.0 if found is None else float(found.mean())


def test_letters_over_what_moves_are_found_and_little_else() -> None:
    found = standing(lettered(pan()), 2)
    assert found is not None
    assert found.shape == (1, *SIZE)
    ink = strokes() > 0
    assert found[ink].min() > 0.9
    near = F.max_pool2d(strokes()[None], 17, 1, 8)[0] > 0
    assert found[~near].max() == 0


@pytest.mark.parametrize(("opacity", "found"), [(0.2, 0.8), (0.4, 0.9)])
def test_logos_that_let_the_film_through_are_found(opacity: float, found: float) -> None:
    """The film is blurred by motion."""
    film = F.avg_pool2d(pan(), (1, 9), 1, (0, 4), count_include_pad=False)
    logo = standing(faint(film, opacity), 2)
    assert logo is not None
    assert logo[strokes() > 0].mean() > found
    near = F.max_pool2d(strokes()[None], 17, 1, 8)[0] > 0
    assert logo[~near].max() == 0
    assert area(film, 2) < 0.01


@pytest.mark.parametrize("t", [0, 1, 4])
def test_they_are_found_at_the_ends_of_a_shot(t: int) -> None:
    found = standing(lettered(pan()), t)
    assert found is not None
    assert found[strokes() > 0].mean() > 0.9


def test_letters_that_appear_are_found_from_the_second_image_on() -> None:
    frames = pan(7)
    frames[3:] = lettered(frames[3:])
    assert standing(frames, 2) is None
    assert standing(frames, 3) is None
    found = standing(frames, 4)
    assert found is not None
    assert found[strokes() > 0].mean() > 0.9


@pytest.mark.parametrize("step", [(3, 5), (0, 6), (4, 0), (1, 0), (0, 0)])
def test_what_moves_as_a_whole_or_not_at_all_does_not_stand(step: tuple[int, int]) -> None:
    assert area(pan(step=step), 2) < 0.01  # by chance


def test_edges_along_a_pan_do_not_stand() -> None:
    """Rails, with a texture above them that moves."""
    frames = pan(step=(0, 6))
    frames[..., 60:70, :] = 0
    frames[..., 64:66, :] = 1
    assert standing(frames, 2) is None


def test_repeated_images_and_images_alone_do_not_stand() -> None:
    frames = pan(3)
    assert area(frames.repeat_interleave(2, 0), 2) < 0.01
    assert standing(frames[:1], 0) is None


@pytest.mark.parametrize("step", [(3, 5), (0, 2), (0, 10)])
def test_two_images_are_too_few_to_tell(step: tuple[int, int]) -> None:
    """Much of a texture in a pan points by chance the same way in both."""
    frames = pan(2, step)
    assert standing(frames, 0) is None
    assert standing(frames, 1) is None
    assert area(lettered(pan(3)), 1) > 0.01


def test_noise_and_flashes_do_not_stand() -> None:
    dice = torch.Generator().manual_seed(1)
    noise = torch.rand(5, 3, *SIZE, generator=dice)
    assert standing(noise, 2) is None
    flash = pan(step=(0, 0)) * torch.tensor([1.0, 1.0, 0.5, 1.0, 1.0])[:, None, None, None]
    assert standing(flash, 2) is None


@pytest.mark.parametrize("strength", [0.02, 0.05])
def test_grain_over_what_stands_still_is_not_motion(strength: float) -> None:
    """A lens may have blurred it."""
    dice = torch.Generator().manual_seed(2)
    still = pan(1).expand(5, -1, -1, -1)
    grain = strength * torch.randn(5, 3, *SIZE, generator=dice)
    assert area((still + grain).clamp(0, 1), 2) < 0.01
    letters = (lettered(pan()) + grain).clamp(0, 1)
    found = standing(letters, 2)
    assert found is not None
    assert found[strokes() > 0].mean() > 0.8


def test_what_a_lens_blurred_is_restored_though_it_stands_still() -> None:
    letters = lettered(pan())
    found = standing(letters, 2, lens=True)
    assert found is not None
    assert found[strokes() > 0].mean() > 0.9
    soft = gaussian_blur(lettered(torch.zeros(5, 3, *SIZE)), 1.5)
    blurred = pan().mul(0.5) + 0.7 * soft
    assert area(blurred, 2) > 0.01
    assert standing(blurred, 2, lens=True) is None
