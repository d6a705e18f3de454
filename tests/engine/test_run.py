"""The engine gives each frame to the network in its window and tiles, and gives each back once."""

from __future__ import annotations

import dataclasses
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unblur.engine.plan import MemoryPlan
from unblur.engine.rendition import Rendition, choose_rendition
from unblur.engine.run import Runner
from unblur.engine.tiled import run_tiled
from unblur.errors import MediaError, NumericsError, ResourceError
from unblur.ops.color import from_linear, to_linear
from unblur.ops.shots import Shot
from unblur.ops.trust import LEAST
from unblur.restorers.base import Tiling, Window
from unblur.restorers.none import Untouched

ENCODED = Rendition("encoded", "iec61966-2-1")


@dataclasses.dataclass(frozen=True)
class Numbered:
    """An image whose red is its number."""

    number: int

    def rgb(self):
        return torch.full((3, 4, 6), self.number / 1000)


class Overlapping(Untouched):
    """Windows of up to 7 frames that overlap by 4, and a record of what was seen."""

    info = dataclasses.replace(Untouched.info, window=7)

    def __init__(self):
        self.seen = []

    def windows(self, length, limit=None):
        size = min(limit or 7, length)
        out, begin = [], 0
        while begin < length:
            stop = min(begin + max(1, size - 4), length)
            low = max(0, min(begin - 2, length - size))
            out.append(Window(tuple(range(low, low + size)), tuple(range(begin, stop))))
            out[-1] = Window(tuple(range(min(low, begin), max(low + size, stop))), out[-1].outputs)
            begin = stop
        return out

    def run(self, frames, guidance, outputs):
        self.seen.append([round(float(f[0, 0, 0]) * 1000) for f in frames])
        return super().run(frames, guidance, outputs)


@settings(deadline=None)
@given(st.lists(st.integers(1, 20), min_size=1, max_size=4))
def test_each_frame_comes_back_once_and_no_window_crosses_a_cut(lengths):
    edges = [sum(lengths[:i]) for i in range(len(lengths) + 1)]
    shots = [Shot(a, b) for a, b in pairwise(edges)]
    restorer = Overlapping()
    runner = Runner(restorer, ENCODED, MemoryPlan(None, None))
    got = list(runner.restore((Numbered(i) for i in range(edges[-1])), shots))
    assert [frame.number for frame, _ in got] == list(range(edges[-1]))
    for frame, image in got:
        assert torch.equal(image, frame.rgb())
    for window in restorer.seen:
        assert any(shot.start <= window[0] and window[-1] < shot.stop for shot in shots)


class Doubly(Untouched):
    """Each frame but the outermost two is in two windows; the later one gives 0.1 more."""

    info = dataclasses.replace(Untouched.info, window=4, needs_depth=True)

    def __init__(self):
        self.priors = []

    def windows(self, length, limit=None):
        starts = range(0, length - 2, 2)
        return [Window((*range(a, a + 4), 0), tuple(range(a, a + 4))) for a in starts]

    def guide(self, frames, priors):
        self.priors.append(priors)
        return {}

    def run(self, frames, guidance, outputs):
        return frames[outputs] + 0.1 * (len(self.priors) - 1)


class Counting:
    """Depth that counts the frames of the shot, and a blur map that is the red of the frame."""

    def restart(self):
        self.count = 0

    def __call__(self, image, rgb):
        self.count += 1
        return torch.full((1, 1, 4, 6), float(self.count)), rgb[:, :1]


def test_frames_in_several_windows_are_averaged_and_each_brings_its_maps():
    restorer = Doubly()
    runner = Runner(restorer, ENCODED, MemoryPlan(None, None), Counting())
    shots = [Shot(0, 6), Shot(6, 10)]
    got = list(runner.restore((Numbered(i) for i in range(10)), shots))
    assert [frame.number for frame, _ in got] == list(range(10))
    added = [float(image[0, 0, 0]) - frame.number / 1000 for frame, image in got]
    assert added == pytest.approx([0, 0, 0.05, 0.05, 0.1, 0.1, 0.2, 0.2, 0.2, 0.2], abs=1e-6)
    seen = [priors.depth[:, 0, 0, 0].tolist() for priors in restorer.priors]
    assert seen == [[1, 2, 3, 4, 1], [3, 4, 5, 6, 1], [1, 2, 3, 4, 1]]
    assert [priors.indices for priors in restorer.priors][1] == (2, 3, 4, 5, 0)
    last = restorer.priors[2].blur[:, 0, 0, 0].tolist()
    assert last == pytest.approx([0.006, 0.007, 0.008, 0.009, 0.006])


def test_frames_are_let_go_when_no_window_needs_them():
    alive, most = set(), 0

    class Counted(Numbered):
        def __init__(self, number):
            super().__init__(number)
            alive.add(number)

        def __del__(self):
            alive.discard(self.number)

    runner = Runner(Overlapping(), ENCODED, MemoryPlan(None, None))
    for _ in runner.restore((Counted(i) for i in range(200)), [Shot(0, 200)]):
        most = max(most, len(alive))
    assert most <= 12


def test_a_stream_that_ends_early_is_an_error():
    runner = Runner(Overlapping(), ENCODED, MemoryPlan(None, None))
    with pytest.raises(MediaError, match="ended at frame 5"):
        list(runner.restore((Numbered(i) for i in range(5)), [Shot(0, 9)]))


class Doubling(Untouched):
    """Twice the size by repeating pixels; guidance at a quarter of the size must match the tile."""

    info = dataclasses.replace(
        Untouched.info, scale=2, guidance_stride=4, tiling=Tiling(64, 16, "feather")
    )

    def guide(self, frames):
        return {"column": torch.arange(-(-frames.shape[-1] // 4)).expand(1, 1, 999, -1)}

    def run(self, frames, guidance, outputs):
        assert guidance["column"].shape[-1] == -(-frames.shape[-1] // 4)
        return frames[outputs].repeat_interleave(2, -1).repeat_interleave(2, -2)


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 150), st.integers(1, 150))
def test_tiled_equals_whole(height, width):
    frames = torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(0))
    whole = run_tiled(Doubling(), frames, [1], MemoryPlan(None, None))
    tiled = run_tiled(Doubling(), frames, [1], MemoryPlan(Doubling.info.tiling, None))
    assert whole.shape == (1, 3, 2 * height, 2 * width)
    torch.testing.assert_close(tiled, whole, rtol=0, atol=1e-6)


class InLinearLight(Untouched):
    """Averages two pixels, as blur does."""

    info = dataclasses.replace(Untouched.info, light="linear")

    def run(self, frames, guidance, outputs):
        return frames.mean(-1, keepdim=True).expand_as(frames)[outputs]


def test_the_network_sees_linear_light_when_it_wants_to():
    image = torch.zeros(1, 3, 1, 2)
    image[..., 0] = 1
    for light, mean in [
        ("auto", float(from_linear(torch.tensor(0.5), "iec61966-2-1"))),
        ("encoded", 0.5),
    ]:
        look = choose_rendition(InLinearLight(), light, None, 1.0)
        out = Runner(InLinearLight(), look, MemoryPlan(None, None)).restore_window(image, [0])
        torch.testing.assert_close(out, torch.full_like(out, mean))


def test_auto_light_leaves_pq_and_hlg_encoded():
    assert choose_rendition(InLinearLight(), "auto", "smpte2084", 1.0).light == "encoded"
    assert choose_rendition(InLinearLight(), "auto", "arib-std-b67", 1.0).light == "encoded"
    assert choose_rendition(InLinearLight(), "linear", "smpte2084", 1.0).light == "linear"


def test_images_stored_in_linear_light_are_shown_encoded_where_that_is_wanted():
    image = torch.zeros(1, 3, 1, 2)
    image[..., 0] = 1
    look = choose_rendition(InLinearLight(), "encoded", "linear", 1.0)
    out = Runner(InLinearLight(), look, MemoryPlan(None, None)).restore_window(image, [0])
    expected = float(to_linear(torch.tensor(0.5), "iec61966-2-1"))
    torch.testing.assert_close(out, torch.full_like(out, expected))


def test_values_outside_the_range_come_back():
    image = torch.tensor([-0.2, 0.4, 3.5]).expand(1, 3, 2, 3)
    for light in ("encoded", "linear"):
        look = choose_rendition(Untouched(), light, "linear", 1.0)
        out = Runner(Untouched(), look, MemoryPlan(None, None)).restore_window(image, [0])
        torch.testing.assert_close(out, image, rtol=0, atol=1e-6)


def test_strength_mixes():
    image = torch.zeros(1, 3, 1, 2)
    image[..., 0] = 1
    look = choose_rendition(InLinearLight(), "encoded", None, 0.5)
    out = Runner(InLinearLight(), look, MemoryPlan(None, None)).restore_window(image, [0])
    torch.testing.assert_close(out[0, 0, 0], torch.tensor([0.75, 0.25]))


def test_values_that_are_not_finite_are_an_error_not_a_black_frame():
    class Broken(Untouched):
        def run(self, frames, guidance, outputs):
            return frames[outputs] * float("nan")

    with pytest.raises(NumericsError, match="not finite"):
        Runner(Broken(), ENCODED, MemoryPlan(None, None)).restore_window(
            torch.rand(1, 3, 8, 8), [0]
        )


def test_values_that_are_not_finite_are_computed_again_in_full_precision():
    class Overflowing(Untouched):
        """Bright frames are too much for it."""

        def run(self, frames, guidance, outputs):
            bright = frames[outputs] > 0.5
            return frames[outputs].masked_fill(bright, float("inf"))

    made = []

    def exactly():
        made.append(1)
        return Untouched()

    runner = Runner(Overflowing(), ENCODED, MemoryPlan(None, None), exactly=exactly)
    for level, repeated in ((0.2, 0), (0.7, 1), (0.9, 2), (0.1, 2)):
        image = torch.full((1, 3, 8, 8), level)
        assert torch.equal(runner.restore_window(image, [0]), image)
        assert runner.repeated == repeated
    assert len(made) == 1


class Greedy(Untouched):
    """Runs out of memory on tiles of more than 128 pixels."""

    largest = 128
    error = RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried ...")

    def run(self, frames, guidance, outputs):
        if max(frames.shape[-2:]) > self.largest:
            raise self.error
        return super().run(frames, guidance, outputs)


@pytest.mark.parametrize("error", [Greedy.error, torch.cuda.OutOfMemoryError("CUDA: ...")])
def test_running_out_of_memory_leads_to_smaller_tiles_not_to_a_failure(error):
    image, greedy = torch.rand(1, 3, 600, 700), Greedy()
    greedy.error = error
    runner = Runner(greedy, ENCODED, MemoryPlan(None, None))
    torch.testing.assert_close(runner.restore_window(image, [0]), image, rtol=0, atol=1e-6)
    assert runner.fit.tiling.size == 128
    hopeless = Greedy()
    hopeless.largest = 1
    with pytest.raises(ResourceError, match="even with the smallest tiles"):
        Runner(hopeless, ENCODED, MemoryPlan(None, None)).restore_window(image, [0])


class Inverting(Untouched):
    """Changes what it is given as far as can be."""

    def run(self, frames, guidance, outputs):
        return 1 - frames[outputs]


@dataclasses.dataclass(frozen=True)
class Encoded:
    """Black, out of a file that was encoded so coarsely."""

    quantizer: float | None

    def rgb(self):
        return torch.zeros(3, 40, 60)

    def quantizers(self):
        return None if self.quantizer is None else torch.full((3, 4), self.quantizer)


@pytest.mark.parametrize("shots", [None, [Shot(0, 3)]], ids=["alone", "in windows"])
def test_less_is_made_of_what_an_encoder_left_little_of(shots):
    runner = Runner(Inverting(), ENCODED, MemoryPlan(None, None))
    frames = [Encoded(None), Encoded(20.0), Encoded(51.0)]
    means = [float(image.mean()) for _, image in runner.restore(frames, shots)]
    assert means[:2] == [1, 1]
    assert means[2] == pytest.approx(LEAST)
