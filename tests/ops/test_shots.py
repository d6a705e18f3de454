"""Cuts are found; motion, flashes and noise are not taken for cuts."""

from __future__ import annotations

import torch

from unblur.ops.shots import Shot, ShotDetector, find_cuts


def world(seed: int) -> torch.Tensor:
    """A large soft image `(3, 200, 400)` to look around in."""
    small = torch.rand(3, 12, 24, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(small[None], (200, 400), mode="bilinear")[0]


def pan(seed: int, frames: int, speed: int) -> list[torch.Tensor]:
    image = world(seed)
    return [image[:, 40:130, i * speed : i * speed + 160] for i in range(frames)]


def shots(frames: list[torch.Tensor]) -> list[Shot]:
    detector = ShotDetector()
    for frame in frames:
        detector.push(frame)
    return detector.shots()


def test_cuts_between_shots_are_found():
    frames = pan(0, 9, 3) + pan(1, 14, 0) + pan(2, 7, 8)
    assert shots(frames) == [Shot(0, 9), Shot(9, 23), Shot(23, 30)]


def test_fast_pans_have_no_cuts():
    assert shots(pan(0, 12, 18)) == [Shot(0, 12)]


def test_noise_and_flashes_have_no_cuts():
    generator = torch.Generator().manual_seed(0)
    frames = [f + 0.05 * torch.randn(f.shape, generator=generator) for f in pan(3, 16, 1)]
    frames[8] = (frames[8] * 1.3).clamp(0, 1)
    assert shots(frames) == [Shot(0, 16)]


def test_a_single_frame_is_a_scene():
    assert shots(pan(0, 1, 0)) == [Shot(0, 1)]
    assert find_cuts([]) == []


def test_real_footage_is_cut_where_clips_were_joined(shared):
    import cv2

    names = ["camel", "parkour", "goat", "breakdance"]
    frames = []
    for name in names:
        files = sorted((shared / "data/davis480" / name).iterdir())[:20]
        for file in files:
            image = cv2.imread(str(file))[..., ::-1].copy()
            frames.append(torch.from_numpy(image).permute(2, 0, 1) / 255)
    assert [shot.start for shot in shots(frames)] == [0, 20, 40, 60]
