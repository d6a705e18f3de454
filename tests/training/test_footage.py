"""What cameras and codecs do to training clips, and real frames among them."""

from __future__ import annotations

import warnings

import cv2
import numpy as np
import pytest
import torch

from unblur.data.codec import Encoding, encode
from unblur.errors import MediaError, UnblurWarning, UsageError
from unblur.training.averages import EXPONENT, Averages, Mixture, exposures, read_video, with_real
from unblur.training.batches import Batch
from unblur.training.footage import (
    CODECS,
    Draws,
    Filmed,
    Titles,
    degraded,
    draw_encoding,
    sharpened,
    smoothed,
    without_encoders,
)
from unblur.training.recipe import Recipe
from unblur.training.source import held_out_clips


class Fixed:
    """A source that gives one clip, for whatever seed."""

    pixels_per_clip = 5 * 64 * 64

    def __init__(self, value=None):
        x = torch.rand(1, 1, 3, 16, 16, generator=torch.manual_seed(3))
        big = torch.nn.functional.interpolate(x[0], (64, 64), mode="bicubic")[None]
        self.clip = big.clamp(0, 1).expand(1, 5, 3, 64, 64) if value is None else value

    def batch(self, clips, seed):
        return Batch(self.clip.expand(clips, -1, -1, -1, -1), self.clip)


def test_frames_are_degraded_and_the_truth_is_not():
    made = Filmed(Fixed(), 1.0).batch(2, 7)
    assert torch.equal(made.sharp, Fixed().clip)
    assert made.blurred.shape == (2, 5, 3, 64, 64)
    assert made.blurred.min() >= 0
    assert made.blurred.max() <= 1
    assert not torch.equal(made.blurred[0], made.blurred[1])


def test_a_seed_gives_the_same_batch():
    source = Filmed(Fixed(), 1.0)
    assert torch.equal(source.batch(1, 11).blurred, source.batch(1, 11).blurred)
    assert not torch.equal(source.batch(1, 11).blurred, source.batch(1, 12).blurred)


def test_titles_lie_over_both_blurred_and_sharp_frames():
    titles = Titles((96, 160), Draws(3))
    dark, bright = torch.zeros(2, 3, 96, 160), torch.full((2, 3, 96, 160), 0.5)
    assert torch.equal(titles(dark)[0], titles(dark)[1])
    covered = titles(dark) > 0.6  # where letters are opaque the frame does not matter
    assert covered.float().mean() > 0.005
    assert torch.allclose(titles(dark)[covered], titles(bright)[covered], atol=0.2)
    assert (titles(bright) == bright).float().mean() > 0.5


def test_the_share_is_kept():
    clean = Fixed().clip
    source = Filmed(Fixed(), 0.5)
    same = [torch.equal(source.batch(1, seed).blurred, clean) for seed in range(40)]
    assert 8 <= sum(same) <= 32


def test_every_encoder_is_drawn_in_a_wide_range():
    draw = Draws(0)
    found = [draw_encoding(draw) for _ in range(300)]
    assert {encoding.codec for encoding in found} == set(CODECS)
    factors = [float(e.options["crf"]) for e in found if e.codec == "libx264"]
    assert min(factors) < 18
    assert max(factors) > 33


def test_degraded_clips_keep_size_and_order():
    step = torch.linspace(0.2, 0.8, 5)[:, None, None, None].expand(5, 3, 48, 64)
    for seed in range(12):
        means = degraded(step.clone(), Draws(seed)).mean(dim=(1, 2, 3))
        assert torch.allclose(means, step.mean(dim=(1, 2, 3)), atol=0.03)


def test_what_stands_in_for_encoders_does_all_clips_at_once_as_one_after_the_other():
    clips = torch.rand(7, 2, 3, 40, 56, generator=torch.Generator().manual_seed(0))
    draw = Draws(4)
    each = torch.cat([without_encoders(clip[None], 0.8, draw) for clip in clips])
    together = without_encoders(clips, 0.8, Draws(4))
    torch.testing.assert_close(together, each, rtol=0, atol=1e-6)
    changed = [not torch.equal(a, b) for a, b in zip(together, clips, strict=True)]
    assert 2 < sum(changed) < 7


def test_a_camera_smooths_noise_and_sharpens_edges():
    edge = torch.zeros(1, 3, 32, 32)
    edge[..., 16:] = 0.8
    noisy = (edge + 0.1).add(0.01 * torch.randn(edge.shape, generator=torch.manual_seed(0)))
    calm = smoothed(noisy, 1.0, 0.04)
    flat = (slice(None), slice(None), slice(None), slice(2, 12))
    assert calm[flat].std() < 0.6 * noisy[flat].std()
    crisp = sharpened(edge + 0.1, 1.0, 1.0)
    assert crisp.max() > 0.95
    assert crisp[..., 2].max() == pytest.approx(0.1)


def test_exposures_are_means_of_light():
    frames = (torch.rand(14, 3, 8, 8, generator=torch.manual_seed(0)) * 255).byte()
    blurred, sharp = exposures(frames, 2, 5, 8)
    light = (frames.float() / 255) ** EXPONENT
    assert torch.allclose(blurred[1], light[7:12].mean(0) ** (1 / EXPONENT), atol=0.6 / 255)
    assert torch.allclose(sharp[1], frames[9].float() / 255, atol=0.6 / 255)


@pytest.fixture
def video(tmp_path):
    """40 frames of 96x72 in a file."""
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.random((1, 3, 9, 12), np.float32))
    wide = torch.nn.functional.interpolate(x, (72, 96), mode="bicubic").clamp(0, 1)
    frames = torch.cat([wide.roll(t, -1) for t in range(40)])
    path = tmp_path / "fast.mkv"
    path.write_bytes(encode(frames, Encoding("libx264", {"crf": "10"})))
    return path


def test_real_clips_are_blurred_along_their_motion(video):
    source = Averages([video], 3, 32)
    batch = source.batch(2, 5)
    assert batch.blurred.shape == batch.sharp.shape == (2, 3, 3, 32, 32)
    assert torch.equal(batch.blurred, source.batch(2, 5).blurred)
    along = [x.diff(dim=-1).square().mean() for x in (batch.blurred, batch.sharp)]
    across = [x.diff(dim=-2).square().mean() for x in (batch.blurred, batch.sharp)]
    assert along[0] / along[1] < 0.9 * across[0] / across[1]


def test_folders_of_frames_are_read_as_files_are(tmp_path):
    frames = (np.random.default_rng(0).random((3, 8, 8, 3)) * 255).astype(np.uint8)
    for i, frame in enumerate(frames):
        cv2.imwrite(str(tmp_path / f"{i}.png"), frame[:, :, ::-1])
    assert np.array_equal(read_video(tmp_path).numpy(), frames.transpose(0, 3, 1, 2))


def test_videos_that_cannot_serve_are_refused(tmp_path, video):
    with pytest.raises(UsageError, match="40 frames of 96x72"):
        Averages([video], 9, 32)
    with pytest.raises(UsageError, match="96x72"):
        Averages([video], 3, 80)
    with pytest.raises(MediaError, match="holds no frames"):
        read_video(tmp_path / "..")
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"nothing")
    with pytest.raises(MediaError, match=r"bad\.mp4"):
        read_video(bad)


def test_a_mixture_draws_from_both_in_its_share():
    black, white = torch.zeros(1, 5, 3, 8, 8), torch.ones(1, 5, 3, 8, 8)
    mixture = Mixture(Fixed(black), Fixed(white), 0.25)
    light = [float(mixture.batch(1, seed).sharp.mean()) for seed in range(200)]
    assert 25 <= sum(light) <= 75
    assert set(light) == {0.0, 1.0}


def test_a_recipe_that_wants_real_clips_says_so():
    recipe = Recipe(network="motion-m", real=0.2)
    with pytest.warns(UnblurWarning, match="--real"):
        assert isinstance(with_real(Fixed(), recipe, []), Fixed)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert isinstance(with_real(Fixed(), Recipe(network="motion-m"), []), Fixed)


def test_every_second_clip_of_validation_is_encoded_where_training_is():
    scenes = {"compressed": 0.0, "max_samples": 3}
    plain = Recipe(network="motion-m", validation_clips=2, frames=1, scenes=scenes)
    filmed = Recipe(network="motion-m", validation_clips=2, frames=1, scenes=scenes, filmed=0.8)
    cpu = torch.device("cpu")
    before, after = (held_out_clips(recipe, cpu, False) for recipe in (plain, filmed))
    assert torch.equal(before[0].blurred, after[0].blurred)
    assert not torch.equal(before[1].blurred, after[1].blurred)
    assert torch.equal(before[1].sharp, after[1].sharp)
