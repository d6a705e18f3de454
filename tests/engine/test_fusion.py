"""Restored frames and their neighbours: what agrees repairs, what does not changes nothing."""

from __future__ import annotations

import csv
import dataclasses
import weakref
from pathlib import Path

import pytest
import torch
from torch import Tensor

from unblur.engine import fusion as engine
from unblur.engine.fusion import Fusion, fuse
from unblur.engine.plan import MemoryPlan
from unblur.engine.rendition import Rendition
from unblur.engine.run import Runner
from unblur.guidance.align import DisAlignment
from unblur.metrics import psnr
from unblur.ops.color import SRGB, to_linear
from unblur.ops.gaussian import gaussian_blur
from unblur.ops.shots import Shot
from unblur.restorers.none import Untouched

CPU = torch.device("cpu")
ENCODED = Rendition("encoded", "iec61966-2-1")
STEP = 1 / 65535
"""What a frame loses while it waits."""


def by_dis(radius: int = 2) -> Fusion:
    return Fusion(radius, DisAlignment(), CPU)


def texture(seed: int, height: int = 96, width: int = 160) -> Tensor:
    rough = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(seed))
    soft = gaussian_blur(rough, 1.5)[0]
    return ((soft - soft.mean()) * 3 + 0.5).clamp(0.05, 0.95)


def panning(frames: int, seed: int = 0, height: int = 96, width: int = 112) -> Tensor:
    """(T, 3, H, W): a texture that moves by 3 pixels a frame."""
    whole = texture(seed, height, width + 3 * frames)
    return torch.stack([whole[..., 3 * t : 3 * t + width] for t in range(frames)])


def fused(frames: Tensor, fusion: Fusion, change: float = 0.05) -> Tensor:
    """Of frames that a restorer changed by so much everywhere."""
    found = list(fuse(((t, x - change, x) for t, x in enumerate(frames)), fusion))
    assert [index for index, _ in found] == list(range(len(frames)))
    return torch.stack([image for _, image in found])


def test_a_frame_alone_and_frames_that_stand_still_are_unchanged():
    still = texture(1)
    for count in (1, 2, 6):
        frames = still.expand(count, -1, -1, -1)
        torch.testing.assert_close(fused(frames, by_dis()), frames, atol=STEP, rtol=0)


def test_a_clip_that_is_sharp_stays_so():
    frames = panning(5)
    assert float(psnr(fused(frames, by_dis()), frames).min()) > 40


def test_frames_that_were_left_as_they_were_stay_so():
    frames = panning(4)
    frames += 0.1 * (torch.rand(frames.shape, generator=torch.Generator().manual_seed(0)) - 0.5)
    assert float(psnr(fused(frames, by_dis(), change=0.0), frames).min()) > 45


def test_sharp_neighbours_repair_blurred_frames():
    truth = panning(6)
    frames = truth.clone()
    for t in (1, 4):
        frames[t] = gaussian_blur(truth[t : t + 1], 1.5)[0]
    found = fused(frames, by_dis())
    for t in (1, 4):
        assert float(psnr(found[t], truth[t])) > float(psnr(frames[t], truth[t])) + 2


@pytest.mark.parametrize("kind", ["flash", "other shot"])
def test_what_has_nothing_in_common_changes_nothing(kind):
    frames = panning(5)
    frames[2] = (frames[2] / 2 + 0.5) if kind == "flash" else texture(9, 96, 112)
    found = fused(frames, by_dis())
    alone = fused(torch.cat((frames[:2], frames[3:])), by_dis())
    assert float(psnr(found[2], frames[2])) > 38
    assert float(psnr(found[[0, 1, 3, 4]], alone).min()) > 40


def test_a_fade_is_followed():
    frames = panning(6) * torch.linspace(1, 0.4, 6)[:, None, None, None]
    found = fused(frames, by_dis())
    drift = (found - frames).mean(dim=(1, 2, 3))
    assert float(drift.abs().max()) < 0.004


class Still:
    """No motion; remembers its guesses."""

    def __init__(self):
        self.pairs = []

    def look(self, image):
        return image

    def flow(self, here, there, guess=None):
        self.pairs.append((float(here[0, 0, 0]), float(there[0, 0, 0])))
        return torch.zeros(2, *here.shape[-2:])

    def rest(self):
        pass

    def take(self, image, columns, rows):
        return image[:, rows.long(), columns.long()]


def test_neighbours_within_the_radius_and_the_shot_each_pair_once():
    numbered = [torch.full((3, 8, 8), t / 10) for t in range(6)]
    still = Still()
    list(fuse(((t, x, x) for t, x in enumerate(numbered)), Fusion(2, still, CPU, again=0)))
    pairs = [(round(10 * a), round(10 * b)) for a, b in still.pairs]
    assert len(pairs) == len(set(pairs))
    assert set(pairs) == {(a, b) for a in range(6) for b in range(6) if 0 < abs(a - b) <= 2}


class Steady(Still):
    """Everything moves by 4 pixels a frame to the right, half of that at half size."""

    def __init__(self):
        super().__init__()
        self.guesses = {}

    def flow(self, here, there, guess=None):
        a, b = (round(10 * float(image[0, 0, 0])) for image in (here, there))
        if guess is not None:
            self.guesses[a, b] = guess
        found = super().flow(here, there)
        found[0] = 2.0 * (b - a)
        return found

    def take(self, image, columns, rows):
        return image[:, : len(rows)]


def test_motion_to_far_frames_begins_with_the_way_from_frame_to_frame():
    numbered = [torch.full((3, 8, 64), t / 10) for t in range(6)]
    steady = Steady()
    list(fuse(((t, x, x) for t, x in enumerate(numbered)), Fusion(3, steady, CPU, again=0)))
    assert set(steady.guesses) == {
        (a, b) for a in range(6) for b in range(6) if 2 <= abs(a - b) < 4
    }
    for (a, b), guess in steady.guesses.items():
        # Where the way does not leave the frame.
        torch.testing.assert_close(guess[0, :, 8:-8], torch.full((4, 16), 2.0 * (b - a)))


def test_motion_is_found_in_restored_frames_and_a_little_of_the_input():
    seen = []

    class Looking(Still):
        def look(self, image):
            seen.append(float(image.mean()))
            return image

    before, after = torch.zeros(3, 8, 8), torch.ones(3, 8, 8)
    list(fuse([(0, before, after)], Fusion(1, Looking(), CPU)))
    assert 0.5 < seen[0] < 1


def test_what_goes_on_in_mid_shot_is_what_the_whole_shot_gives():
    frames = panning(8)
    frames[2::3] = gaussian_blur(frames[2::3], 1.0)
    items = [(t, x - 0.05, x) for t, x in enumerate(frames)]
    whole = {t: image for t, image in fuse(items, by_dis())}
    reach = by_dis().reach
    rest = list(fuse(items[5 - reach :], by_dis(), first=reach))
    assert [t for t, _ in rest] == [5, 6, 7]
    for t, image in rest:
        assert torch.equal(image, whole[t])


def test_no_more_frames_are_taken_than_are_needed():
    taken = []

    def arriving():
        for t in range(30):
            taken.append(t)
            yield t, torch.zeros(3, 8, 8), torch.full((3, 8, 8), t / 40)

    for number, (index, _) in enumerate(fuse(arriving(), Fusion(3, Still(), CPU))):
        assert index == number
        assert len(taken) <= index + 5  # three on, and one more for the second time


@pytest.mark.parametrize("height", [97, 200])
def test_blocks_of_rows_do_not_show(monkeypatch, height):
    frames = torch.stack([texture(t, height, 70) * 0.1 + texture(9, height, 70) for t in range(3)])
    whole = fused(frames, Fusion(1, Still(), CPU))
    assert not torch.allclose(whole, frames, atol=0.01)
    monkeypatch.setattr(engine, "ROWS", 3 * engine.HOP)
    torch.testing.assert_close(fused(frames, Fusion(1, Still(), CPU)), whole, atol=1e-5, rtol=0)


@dataclasses.dataclass(frozen=True)
class Shown:
    image: Tensor

    def rgb(self):
        return self.image


class Lifting(Untouched):
    """Changes every pixel, by as much."""

    def run(self, frames, guidance, outputs):
        return frames[list(outputs)] + 0.05


def run(frames: Tensor, shots: list[Shot], look: Rendition = ENCODED) -> Tensor:
    shown = [Shown(frame) for frame in frames]
    runner = Runner(Lifting(), look, MemoryPlan(None, None), fusion=by_dis())
    found = list(runner.restore(shown, shots))
    assert [frame for frame, _ in found] == shown
    return torch.stack([image for _, image in found])


def test_shots_are_fused_by_themselves_and_frames_come_back_in_order():
    parts = panning(4, 1), panning(3, 2)
    found = run(torch.cat(parts), [Shot(0, 4), Shot(4, 7)])
    expected = torch.cat([fused(part + 0.05, by_dis()) for part in parts])
    torch.testing.assert_close(found, expected, atol=2 * STEP, rtol=0)


def test_values_outside_the_range_come_back_and_strength_mixes():
    frames = panning(3)
    frames[:, :, 40:50, 40:50] = torch.tensor([-0.2, 0.4, 3.5])[:, None, None]
    found = run(frames, [Shot(0, 3)])
    excess = frames - frames.clamp(0, 1)
    within = found - excess
    assert 0 <= within.min() <= within.max() <= 1
    assert float(psnr(within, (frames.clamp(0, 1) + 0.05).clamp(0, 1)).min()) > 35
    half = run(frames, [Shot(0, 3)], dataclasses.replace(ENCODED, strength=0.5))
    torch.testing.assert_close(half, (found + frames) / 2, atol=1e-6, rtol=0)


def test_images_stored_in_linear_light_are_compared_encoded():
    frames = panning(3)
    found = run(to_linear(frames, SRGB), [Shot(0, 3)], Rendition("encoded", "linear"))
    expected = to_linear(fused(frames + 0.05, by_dis()), SRGB)
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=0)


def test_running_out_of_memory_leads_to_smaller_blocks_and_the_same_frames(monkeypatch):
    monkeypatch.setattr(engine, "ROWS", 2 * engine.HOP)
    frames = panning(4, height=240)
    expected = fused(frames, by_dis())
    whole = engine.in_bands

    def greedy(this, others, fusion, size):
        if others and size > engine.HOP:
            raise RuntimeError("CUDA out of memory. Tried to allocate ...")
        return whole(this, others, fusion, size)

    monkeypatch.setattr(engine, "in_bands", greedy)
    torch.testing.assert_close(fused(frames, by_dis()), expected, atol=STEP, rtol=0)


@pytest.mark.parametrize("radius", [1, 2, 3, 4])
def test_no_more_motions_are_held_than_the_estimate_counts(monkeypatch, radius):
    alive = weakref.WeakSet()
    most = 0
    found = engine.both_ways

    def both_ways(*words):
        nonlocal most
        pair = found(*words)
        alive.update(motion.codes for motion in pair)
        most = max(most, len(alive))
        return pair

    monkeypatch.setattr(engine, "both_ways", both_ways)
    frames = ((None, image, image) for image in torch.rand(3 * radius + 3, 3, 32, 32))
    for _ in fuse(frames, Fusion(radius, DisAlignment(), torch.device("cpu"), again=0)):
        pass
    assert 3 * radius <= most <= engine.motions(radius)


def test_the_estimate_of_memory_holds_where_it_was_measured():
    """`benchmarks/memory.py --fusion`: at 480p and 1080p, and what else was measured."""
    sizes = {"480p": (480, 854), "1080p": (1080, 1920), "4K": (2160, 3840)}
    folder = Path(__file__).parents[2] / "benchmarks" / "results"
    with open(folder / "memory_fusion.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["frames"] for row in rows} >= {"480p", "1080p"}
    for row in rows:
        fusion = Fusion(int(row["on either side"]), DisAlignment(), torch.device("cpu"))
        assert fusion.peak_bytes(*sizes[row["frames"]]) / 1e6 >= float(row["peak MB"]), row
