"""A restorer at work on a stream of frames: windows, fusion, light, and memory that runs out."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from functools import partial
from itertools import accumulate, islice
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from unblur.engine.arrivals import Arrivals, Focus, gathered
from unblur.engine.estimate import Cost
from unblur.engine.fusion import Fusion, fuse
from unblur.engine.guard import as_before, standing_in, trusted
from unblur.engine.held import Held, InMemory
from unblur.engine.live import Step, shots_as_they_come, unfolding
from unblur.engine.plan import MemoryPlan, candidates
from unblur.engine.rendition import Rendition
from unblur.engine.tiled import run_tiled
from unblur.errors import MediaError, NumericsError, ResourceError, is_out_of_memory
from unblur.ops import memory
from unblur.ops.finest import finest_patterns
from unblur.ops.resize import bicubic
from unblur.ops.shots import FrameLike, Shot, ShotDetector
from unblur.restorers.base import Priors, Restorer, Window

P = TypeVar("P", bound=FrameLike)
ENDED = (
    "the video ended at frame {number}, and had more frames when it was looked through before: is "
    "it still being written? Run again after"
)


def find_shots(frames: Iterable[FrameLike]) -> list[Shot]:
    """Looks at every frame once and finds the cuts."""
    detector = ShotDetector()
    for frame in frames:
        detector.push(frame.rgb())
    return detector.shots()


class Runner:
    """A restorer at work: keeps the way the job is cut up, and cuts finer when memory runs out.

    Args:
        restorer: what restores.
        look: how it is shown images.
        fit: how the job is cut up.
        focus: where depth and blur maps come from, for a restorer that needs them.
        fusion: how restored frames are put together with their neighbours; None: not at all.
        exactly: gives the same restorer in full precision, for windows in which the values of this
            one are not finite; None where it is in full precision.
    """

    def __init__(
        self,
        restorer: Restorer,
        look: Rendition,
        fit: MemoryPlan,
        focus: Focus | None = None,
        fusion: Fusion | None = None,
        exactly: Callable[[], Restorer] | None = None,
    ) -> None:
        self.restorer = restorer
        self.look = look
        self.fit = fit
        self.focus = focus
        self.fusion = fusion
        self.exactly = exactly
        self.repeated = 0
        """Windows that were computed again in full precision."""
        self._exact: Restorer | None = None
        self.tick: Callable[[float], None] | None = None
        """Called with the number of frames that the network has restored, with a part of one."""
        self.refitted: Callable[[MemoryPlan], None] | None = None
        """Called when the job had to be cut up otherwise."""
        self.cost = Cost()
        """What a frame is expected to take."""
        self.restored = 0
        """Frames that the network gave."""

    @property
    def needs_shots(self) -> bool:
        """True where other frames matter to a frame."""
        return self.restorer.info.needs_shots or self.fusion is not None

    def restore(
        self,
        frames: Iterable[P],
        shots: Sequence[Shot] | None,
        held: Held[P] | None = None,
        first: int = 0,
        stop: int | None = None,
    ) -> Iterator[tuple[P, Tensor]]:
        """Restores a stream of frames, holding no more of them than the windows need.

        Args:
            frames: in order of presentation, from `begin(shots, first)` on.
            shots: of all frames; None for a restorer that takes each frame by itself.
            held: where they wait for their windows; in memory if None.
            first: frame to begin with; it and all after it come out as if all had been restored.
            stop: frame to end before, likewise; None: the last one comes out.

        Yields:
            Each frame with its restored image `(3, scale * H, scale * W)`, in the frame's own
            signal. Values leave [0, 1] only where those of the frame do.

        Raises:
            MediaError: the stream ends before the last shot does.
        """
        if shots is None:
            for frame in frames:
                yield frame, self.restore_window(frame.rgb()[None], [0], frames=[frame])[0]
            return
        source = iter(frames)
        held = InMemory() if held is None else held
        for shot in shots:
            if shot.stop > first and (stop is None or shot.start < stop):
                yield from self._restore_rest(source, shot, held, max(first, shot.start), stop)

    def needed(self, shot: Shot, first: int, stop: int) -> tuple[int, int]:
        """The frames that `restore` must be given for those from `first` to `stop - 1` of a shot.

        Returns:
            The earliest, and the one behind the last.
        """
        windows = self._windows(shot, first, stop)
        begin = shot.start + self._begin(windows)
        return begin, shot.start + max(max(window.inputs) for window in windows) + 1

    def begin(self, shots: Sequence[Shot] | None, first: int) -> int:
        """The earliest frame that `restore` must be given for `first` and those after it."""
        shot = next((shot for shot in shots or () if shot.start <= first < shot.stop), None)
        if shot is None:
            return first
        return shot.start + self._begin(self._windows(shot, first))

    def _begin(self, windows: Sequence[Window]) -> int:
        """The same within a shot; depth and blur of a frame lean on all frames before it."""
        return 0 if self.focus is not None else min(oldest_needed(list(windows)))

    def _windows(self, shot: Shot, first: int, stop: int | None = None) -> list[Window]:
        """The windows of a shot that matter to frames from `first` to `stop - 1`.

        Where an end is given, no more comes out of them than matters.
        """
        wanted = self._unfused(shot, first) - shot.start
        windows = self.restorer.windows(shot.stop - shot.start, self.fit.window)
        if stop is None:
            return [window for window in windows if max(window.outputs) >= wanted]
        end = stop - shot.start + (self.fusion.reach if self.fusion is not None else 0)
        parts = [(w.inputs, tuple(i for i in w.outputs if wanted <= i < end)) for w in windows]
        return [Window(inputs, outputs) for inputs, outputs in parts if outputs]

    def _unfused(self, shot: Shot, first: int) -> int:
        """The earliest frame of a shot that `first` is fused with."""
        return max(shot.start, first - (self.fusion.reach if self.fusion is not None else 0))

    def _restore_rest(
        self, source: Iterator[P], shot: Shot, held: Held[P], first: int, stop: int | None
    ) -> Iterator[tuple[P, Tensor]]:
        """The frames of a shot from `first` to `stop - 1` with their images."""
        begin, windows = self._unfused(shot, first), self._windows(shot, first, stop)
        came = shot.start + self._begin(windows)
        arrivals = Arrivals(source, held, self.focus, shot.start, came)
        steps = self._steps(shot, windows, arrivals)
        restored = self._finished(arrivals, steps, begin - shot.start, first - begin)
        return restored if stop is None else islice(restored, stop - first)

    def _finished(
        self, arrivals: Arrivals[P], steps: Iterable[Step], begin: int = 0, first: int = 0
    ) -> Iterator[tuple[P, Tensor]]:
        """The frames of a shot from `begin` on, fused, but for the `first` of them."""
        restored = self._restore_shot(arrivals, steps, begin)
        if self.fusion is None:
            return ((frame, image) for frame, image, _ in restored)
        return self._fuse(restored, self.fusion, first)

    def restore_live(self, frames: Iterable[P]) -> Generator[tuple[P, Tensor], None, None]:
        """As `restore`, of frames whose end and shots are not known: see `engine.live`.

        Each frame comes out as soon as no later one can change it. What is held does not grow.
        """
        if not self.needs_shots:
            yield from self.restore(frames, None)
            return
        for shot in shots_as_they_come(frames):
            arrivals = Arrivals(shot, InMemory(), self.focus)
            steps = unfolding(self.restorer, self.fit.window, arrivals.reach)
            yield from self._finished(arrivals, steps)

    def _steps(self, shot: Shot, windows: list[Window], arrivals: Arrivals[P]) -> Iterator[Step]:
        """The windows of a shot that is known to its end."""
        length = shot.stop - shot.start
        unfinished = [window.outputs[0] for window in windows[1:]] + [length]
        for step in map(Step, windows, oldest_needed(windows), unfinished):
            if not arrivals.reach(max(step.window.inputs)):
                raise MediaError(ENDED.format(number=arrivals.end))
            yield step

    def _restore_shot(
        self, arrivals: Arrivals[P], steps: Iterable[Step], first: int = 0
    ) -> Iterator[tuple[P, Tensor, Tensor | None]]:
        """Its frames with their images, ready to be written unless they are to be fused.

        And where something stands still in them. Those before `first`, of the shot, are left out.
        """
        held, start = arrivals.held, arrivals.start
        found: dict[int, Tensor] = {}
        standing: dict[int, Tensor | None] = {}
        lens = self.restorer.info.blur == "focal"
        for window, oldest, unfinished in steps:
            held.drop(start + oldest)
            images, priors = gathered(held, start, window)
            positions = [window.inputs.index(i) for i in window.outputs]
            restored = self._run_window(images, positions, priors)  # (n, 3, sH, sW)
            frames = [held.get(start + i)[0] for i in window.outputs]
            restored = trusted(frames, images[positions], restored)
            for n, index in enumerate(window.outputs):
                still = standing_in(images, window.inputs, index, self.look, lens)
                restored[n] = as_before(images[positions[n]], restored[n], still)
                if index >= first:
                    standing[index] = still
            if self.fusion is None:
                restored = self._put_back(images[positions], restored)
            add_to(found, window.outputs, restored, first)
            # What is done with frames that are ready, and the next window, find this memory free.
            del images, priors, restored
            for index in [i for i in found if i < unfinished]:
                # A copy: whoever keeps a view keeps all frames of the window.
                frame = held.get(start + index)[0]
                yield frame, found.pop(index).clone(), standing.pop(index)
        held.clear()

    def restore_window(
        self,
        images: Tensor,  # (T, 3, H, W)
        outputs: list[int],
        priors: Priors | None = None,
        frames: Sequence[FrameLike] = (),
    ) -> Tensor:  # (len(outputs), 3, scale * H, scale * W)
        """Restores some frames of a window; RGB as it is stored in and out.

        Where the frames of the outputs are given, how they were encoded counts.
        """
        restored = trusted(frames, images[outputs], self._run_window(images, outputs, priors))
        return self._put_back(images[outputs], restored)

    def _run_window(
        self, images: Tensor, outputs: list[int], priors: Priors | None
    ) -> Tensor:  # (len(outputs), 3, scale * H, scale * W)
        """What the network makes of some frames of a window, stored RGB in [0, 1]."""
        look = self.look
        shown = look.show(images.clamp(0, 1))
        restored = self._with_less_memory_if_needed(self.restorer, shown, outputs, priors)
        if not torch.isfinite(restored).all() and self.exactly is not None:
            exact = self._exact = self._exact or self.exactly()
            self.repeated += 1
            restored = self._with_less_memory_if_needed(exact, shown, outputs, priors)
        self.restored += len(outputs)
        if not torch.isfinite(restored).all():
            raise NumericsError(
                f"{self.restorer.info.name} gave values that are not finite: "
                "run again with --precision fp32, or verify the weights"
            )
        restored = look.take_back(restored.clamp(0, 1))
        before = images[outputs].clamp(0, 1)
        share = finest_patterns(look.encoded(before))
        if share is not None:
            size = restored.shape[-2:]
            share = bicubic(share, size)
            restored = torch.lerp(restored, bicubic(before, size), share)
        return restored

    def _put_back(
        self,
        images: Tensor,  # (n, 3, H, W)
        restored: Tensor,  # (n, 3, scale * H, scale * W)
    ) -> Tensor:  # (n, 3, scale * H, scale * W)
        """Mixes frames and what was made of them as the strength says.

        Networks know [0, 1]; what lies outside (colours of YUV, highlights of EXR) is put back.
        """
        scale, before = self.restorer.info.scale, images.clamp(0, 1)
        excess = images - before
        if scale > 1:
            excess = F.interpolate(excess, scale_factor=scale, mode="nearest")
        before = bicubic(before, restored.shape[-2:])
        return torch.lerp(before, restored, self.look.strength) + excess

    def _fuse(
        self, restored: Iterable[tuple[P, Tensor, Tensor | None]], fusion: Fusion, first: int = 0
    ) -> Iterator[tuple[P, Tensor]]:
        """Frames of a shot with their images, put together with their neighbours.

        What stands still stays as it was. The `first` frames only take part.
        """

        def before_and_after(
            item: tuple[P, Tensor, Tensor | None],
        ) -> tuple[tuple[P, Tensor | None], Callable[[], Tensor], Tensor]:
            frame, image, still = item
            # Compared as people see them, so not in linear light.
            return (
                (frame, still),
                partial(before, frame, image.shape[-2:]),
                self.look.encoded(image),
            )

        def before(frame: P, size: Sequence[int]) -> Tensor:
            return self.look.encoded(bicubic(frame.rgb()[None].clamp(0, 1), size)[0])

        def given_back(item: tuple[tuple[P, Tensor | None], Tensor]) -> tuple[P, Tensor]:
            (frame, still), image = item
            rgb = frame.rgb()
            image = as_before(rgb, self.look.stored(image), still)
            return frame, self._put_back(rgb[None], image[None])[0]

        # By `map`, as the loops of generators would keep images while these wait.
        yield from map(given_back, fuse(map(before_and_after, restored), fusion, first))

    def _tell(self, outputs: list[int]) -> Callable[[float], None] | None:
        """Takes what share of a window the network did, and passes on where all of them stand."""
        tick, before, guided = self.tick, self.restored, self.cost.guided
        if tick is None:
            return None
        return lambda share: tick(before + (guided + (1 - guided) * share) * len(outputs))

    def _with_less_memory_if_needed(
        self, restorer: Restorer, shown: Tensor, outputs: list[int], priors: Priors | None
    ) -> Tensor:
        height, width = shown.shape[-2:]
        smaller = [
            fit.tiling
            for fit in candidates(restorer, height, width, None, self.fit.window)
            if fit.tiling is not None
            and (self.fit.tiling is None or fit.tiling.size < self.fit.tiling.size)
        ]
        while True:
            try:
                return run_tiled(restorer, shown, outputs, self.fit, priors, self._tell(outputs))
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                if not smaller:
                    raise ResourceError(
                        f"out of memory on frames of {width}x{height} even with the smallest "
                        "tiles: lower --window, use --device cpu, or take a smaller model"
                    ) from error
            # Here the error is gone, and with it the tensors that its frames held.
            memory.give_back_all()
            self.fit = MemoryPlan(smaller.pop(0), self.fit.window)
            if self.refitted is not None:
                self.refitted(self.fit)


def add_to(found: dict[int, Tensor], outputs: Sequence[int], restored: Tensor, first: int) -> None:
    """Adds the frames that a window gave, from `first` on: the mean where one was given before."""
    for index, image in zip(outputs, restored, strict=True):
        if index >= first:
            found[index] = (found[index] + image) / 2 if index in found else image


def outputs_in_all(restorer: Restorer, shots: Sequence[Shot], limit: int | None) -> int:
    """How many frames the network gives over all shots: some models restore a frame twice."""
    windows = (w for s in shots for w in restorer.windows(s.stop - s.start, limit))
    return sum(len(window.outputs) for window in windows)


def oldest_needed(windows: list[Window]) -> list[int]:
    """For each window the smallest input that it or a later one needs."""
    smallest = [min(window.inputs) for window in windows]
    return list(accumulate(reversed(smallest), min))[::-1]
