"""What is wrong with a video, before any time is spent on it: blur by kind, shots, codec, noise."""

from __future__ import annotations

import math
import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from fractions import Fraction
from itertools import count, groupby
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from unblur.commands.arrays import Given, taken_apart
from unblur.commands.cost import Estimate, cost_for, models_for
from unblur.engine.change import change
from unblur.engine.pipeline import prefetch
from unblur.errors import MediaError, ResourceError, UnblurWarning, UsageError, WeightsError
from unblur.guidance.blur_kind import Looked, Looker
from unblur.models.look import CELL
from unblur.ops import shots as ops
from unblur.ops.color import SRGB, from_linear
from unblur.ops.device import choose_device
from unblur.ops.shots import FLOOR, RULES, ShotDetector
from unblur.progress import LOOK, MEASURE, TRY, Job, Listener
from unblur.restorers.registry import FOR, RESTORED_BY, Blur, Kind, choose_quality, load_model
from unblur.video import open_video, probe

LONGEST = 960
"""Side in pixels above which frames are looked at in half, a third, ... of their size."""
EVERY = 3
"""Frames from one that is looked at to the next; those between are like the last one."""
LEAST_FRAMES = 24
"""Frames of a clip below which each is looked at."""
LIKELY = 0.5
"""Chance above which a frame counts as blurred."""
MANY = 0.25
"""Share of frames that are blurred, above which a shot is."""
PIECE = 128
"""Side in pixels of the part of a frame that restorers are tried on."""
TRIES = 5
"""Frames of a shot that are tried, evenly over it."""
TRYING = 4.0
"""Seconds that trying models is expected to take before any was tried, so that a bar does not stand
at its end meanwhile."""
TRIED: tuple[Blur, ...] = ("motion", "focus")
"""What their fast restorers are tried for."""
UNCHANGED, HARDLY_CHANGED = 38.0, 43.0
"""PSNR in dB between what is tried and what is made of it above which a shot is sharp: of the whole
frame, as if it changed nowhere else, for one that looks sharp; of the piece for one that looks
blurred. In any sharp frame some piece is smooth, and changed as if it were blurred."""
LEADS: Mapping[Kind, float] = {"sharp": 0.0, "motion": 4.0, "focus": -3.0, "both": 4.0}
"""By how many dB more the restorer for focus must change a shot than that for motion, by what the
shot looks like: for focus where it looks blurred by motion costs more than the reverse."""
KEPT = 512
"""Pieces that wait for that; of more, every other one is dropped."""
QUALITIES: tuple[Literal["fast", "best"], ...] = ("fast", "best")
BLOCK = 8
"""Side of the blocks of most codecs."""


@dataclass(frozen=True)
class FrameLook:
    """How a frame is blurred."""

    index: int
    seconds: float
    """Since the first frame of the video."""
    kind: Kind
    motion: float
    """Pixels that what moved most (a tenth of what has detail) moved while the shutter was open."""
    radius: float
    """Of the circle of confusion in pixels, likewise."""
    chance_motion: float
    """Of being blurred so, as it and the frames looked at before and after it in its shot say."""
    chance_focus: float
    blockiness: float
    """Steps at the limits of a codec's blocks over those elsewhere, less 1."""
    noise: float
    """Deviation, on a range of 1."""


@dataclass(frozen=True)
class Shot:
    """Frames `start` to `stop - 1`, without a cut inside."""

    start: int
    stop: int
    looks: Kind
    """What its frames look like."""
    kind: Kind
    """What it is restored for, after restorers were tried on pieces of it."""
    motion: float
    radius: float
    model: str
    """What restores it, in the quality that `restore` takes by itself."""


@dataclass(frozen=True)
class Analysis:
    """What was seen of a video."""

    path: Path
    width: int
    height: int
    frame_rate: float | None
    interlaced: bool
    frames: tuple[FrameLook, ...]
    """Those that were looked at."""
    count: int
    """Frames of the video."""
    shots: tuple[Shot, ...]
    kind: Kind
    """Of most frames in shots that are blurred, if more than a quarter are."""
    blockiness: float
    noise: float
    bits_per_pixel: float | None
    """Of the file; None for images."""
    estimates: tuple[Estimate, ...]
    quality: Literal["fast", "best"]
    """What `restore` takes by itself: the best if that is done in ten minutes, or not measured."""
    cells: dict[int, Looked] = field(default_factory=dict, compare=False, repr=False)
    """Where in a frame: maps of motion and radius, a value for each 32 x 32 pixels looked at."""

    @property
    def sharp_ranges(self) -> list[tuple[int, int]]:
        """Frames `start` to `stop - 1` that need nothing."""
        ranges = []
        for kind, run in groupby(zip(self.frames, self._stops(), strict=True), lambda p: p[0].kind):
            pairs = list(run)
            if kind == "sharp":
                ranges.append((pairs[0][0].index, pairs[-1][1]))
        return ranges

    def _stops(self) -> list[int]:
        return [*(frame.index for frame in self.frames[1:]), self.count]

    def facts(self) -> dict[str, object]:
        """All of it but the maps, as JSON can hold it."""
        known = {k: v for k, v in vars(self).items() if k not in ("cells", "path")}
        for name in ("frames", "shots", "estimates"):
            known[name] = [asdict(x) for x in known[name]]
        return {"path": str(self.path), **known, "sharp_ranges": self.sharp_ranges}


def analyze(
    source: Any,
    *,
    start: str | None = None,
    end: str | None = None,
    device: str = "auto",
    estimate: bool = True,
    progress: Listener | None = None,
) -> Analysis:
    """Looks at a video: how each frame is blurred and by what, shots, codec, noise, cost.

    Args:
        source: a video, a folder of images, or a pattern; or frames, as `unblur.restore` takes
            them, of one clip.
        start: first frame to look at, as in `restore`.
        end: first frame not to.
        device: where look-s runs, and where the time of models is measured.
        estimate: measure what each quality costs, by a short run of its model.
        progress: called as it goes on.

    Raises:
        UsageError: a range that is none, or frames of no known kind.
        MediaError: the video cannot be read.
    """
    job, later = Job(progress), None if estimate else 0.0
    where = choose_device(device)
    if not isinstance(source, str | os.PathLike):
        if start is not None or end is not None:
            raise UsageError("start and end are for files: take a part of the frames")
        frames = numbered(source)
        job.begin(LOOK, len(frames), later=None if estimate else TRYING)
        seen = look_through(frames, len(frames), None, where, job, later)
        height, width = frames[0].rgb().shape[-2:]
        about = dict(path=Path("frames"), width=width, height=height, interlaced=False)
        return summary(seen, about, None, None, estimate, device, job)
    interlaced = probe(source).interlaced
    with open_video(source, start=start, end=end, deinterlace=interlaced) as reader:
        info = reader.info
        job.begin(LOOK, reader.frames, later=None if estimate else TRYING)
        with closing(prefetch(reader)) as coming:
            seen = look_through(coming, reader.frames, info.color.transfer, where, job, later)
    if not seen.looks:
        raise MediaError(f"{source} holds no frames in the chosen range")
    path = Path(source)
    size = path.stat().st_size if path.is_file() else None
    bits = None
    if size is not None:
        bits = 8 * size / ((info.frames or seen.count) * info.width * info.height)
    about = dict(path=path, width=info.width, height=info.height, interlaced=interlaced)
    rate = None if info.frame_rate is None else float(info.frame_rate)
    return summary(seen, about, rate, bits, estimate, device, job)


class Looking(Protocol):
    """A frame that is looked at."""

    @property
    def index(self) -> int:
        """Its number in the video."""
        ...

    @property
    def time(self) -> Fraction:
        """Seconds in the video."""
        ...

    def rgb(self) -> Tensor:
        """`(3, H, W)` as it is stored."""
        ...


@dataclass(frozen=True)
class FrameAt:
    """A frame of an array; of these, time is not known."""

    index: int
    given: Given
    time: Fraction = Fraction(0)

    def rgb(self) -> Tensor:
        """See `Given`."""
        return self.given.rgb()


def numbered(source: Any) -> list[FrameAt]:
    """The frames of a clip that a program holds."""
    clips = taken_apart(source).clips
    if len(clips) != 1:
        raise UsageError(f"{len(clips)} clips: analyze them one by one")
    return frames_of(clips[0])


def frames_of(clip: Sequence[Given]) -> list[FrameAt]:
    """The same of a clip that was taken apart."""
    return [FrameAt(n, given) for n, given in enumerate(clip)]


@dataclass
class Seen:
    """What was seen of the frames of a video."""

    looks: list[FrameLook] = field(default_factory=list)
    cells: dict[int, Looked] = field(default_factory=dict)
    shots: list[tuple[int, int]] = field(default_factory=list)
    kinds: list[Kind] = field(default_factory=list)
    """Of the shots."""
    pieces: list[Crop] = field(default_factory=list)
    first: int = 0
    count: int = 0


@dataclass(frozen=True)
class Crop:
    """A part of a frame to try restorers on."""

    frame: int
    rgb: Tensor
    """(3, h, w) bytes."""
    share: float = 1.0
    """Of the frame's area."""

    @classmethod
    def of(cls, frame: int, rgb: Tensor, weight: Tensor) -> Crop:
        """The part of a frame (3, H, W) in which a weight, (h, w) by cells, is densest."""
        height, width = rgb.shape[-2:]
        size = [min(PIECE // CELL, side) for side in weight.shape]
        dense = F.avg_pool2d(weight[None, None], size, stride=1)[0, 0]
        row, column = divmod(int(dense.argmax()), dense.shape[1])
        top = min(CELL * row, max(0, height - PIECE))
        left = min(CELL * column, max(0, width - PIECE))
        part = rgb[:, top : top + PIECE, left : left + PIECE]
        return cls(frame, (255 * part).round().byte(), part.numel() / rgb.numel())


class Trier:
    """Tries the fast restorers on pieces of shots: they change what is blurred, and only that."""

    def __init__(self, where: torch.device) -> None:
        self.motion, self.focus = (load_model(FOR[blur][0], device=where) for blur in TRIED)

    def __call__(self, kind: Kind, pieces: Sequence[Crop], tick: Callable[[], None]) -> Kind:
        """How a shot is blurred that looks like that, and whose pieces these are.

        `tick` is called with each trial: there are two for a piece.
        """
        seen = [piece.rgb / 255 for piece in pieces]
        motion, focus = (change(restorer, seen, tick) for restorer in (self.motion, self.focus))
        return kind_tried(kind, motion, focus, pieces[0].share)


def kind_tried(kind: Kind, motion: float, focus: float, share: float = 1.0) -> Kind:
    """The kind of a shot by how it looks, and by what restorers for both change, in dB.

    `share` is that of the pieces, which were changed so, in the area of a frame.

    >>> kind_tried("sharp", 39.0, 55.0), kind_tried("sharp", 35.0, 33.0)
    ('sharp', 'focus')
    >>> kind_tried("sharp", 35.0, 33.0, share=0.1), kind_tried("motion", 35.0, 33.0, share=0.1)
    ('sharp', 'motion')
    >>> kind_tried("both", 37.0, 35.0), kind_tried("focus", 35.0, 37.0)
    ('both', 'focus')
    """
    least = min(motion, focus)
    if kind == "sharp":
        if least - 10 * math.log10(share) > UNCHANGED:
            return "sharp"
    elif least > HARDLY_CHANGED:
        return "sharp"
    if motion - focus > LEADS[kind]:
        return "focus"
    return "both" if kind == "both" else "motion"


def look_through(
    frames: Iterable[Looking],
    expected: int | None,
    transfer: str | None,
    where: torch.device,
    job: Job,
    later: float | None,
) -> Seen:
    """Looks at every third frame, or at each where there are few, and at all for cuts.

    `later` is how many seconds the stages after it are expected to take; None: not known.
    """
    looker = Looker(where)
    detector = ShotDetector()
    seen = Seen()
    every = 1 if expected and expected < LEAST_FRAMES else EVERY
    before: Tensor | None = None
    waiting: tuple[Looking, Tensor] | None = None

    def look(frame: Looking, rgb: Tensor, neighbour: Tensor | None) -> None:
        small, shrunk = reduced(rgb)
        looked = looker(small, neighbour)
        seen.cells[frame.index] = looked
        seen.looks.append(summed_up(frame, looked, shrunk, rgb))
        # Where detail alone is densest a frame is sharpest, whatever the rest of it is.
        seen.pieces.append(Crop.of(frame.index, small, looked.detail * looked.blurred))
        if len(seen.pieces) > KEPT:
            seen.pieces = seen.pieces[::2]

    for n, frame in enumerate(frames):
        seen.first = frame.index if n == 0 else seen.first
        rgb = shown(frame.rgb(), transfer)
        detector.push(rgb)
        change = detector.differences[-1]
        begins = n == 0 or (change.mean > FLOOR and change.pattern > RULES[1][0])
        if waiting is not None:
            look(*waiting, None if begins else reduced(rgb)[0])
            waiting = None
        if begins:  # its neighbour comes after it
            waiting = frame, rgb
        elif n % every == 0:
            look(frame, rgb, before)
        before = reduced(rgb)[0] if (n + 1) % every == 0 else None
        job.at(n + 1)
    if waiting is not None:
        look(*waiting, None)
    seen.count = len(detector.differences)
    seen.shots = [(seen.first + s.start, seen.first + s.stop) for s in detector.shots()]
    seen.looks = steadied(seen.looks, seen.shots)
    try_shots(seen, where, job, later)
    return seen


def try_shots(seen: Seen, where: torch.device, job: Job, later: float | None) -> None:
    """Says of each shot how it is blurred, by its looks and by what restorers do to it."""
    chosen = []
    for start, stop in seen.shots:
        own = [piece for piece in seen.pieces if start <= piece.frame < stop]
        some = [own[n * len(own) // TRIES] for n in range(TRIES)] if len(own) > TRIES else own
        chosen.append(some)
    trials = len(TRIED) * sum(map(len, chosen))
    if trials:
        job.begin(TRY, trials, later=later)
    trier = Trier(where) if trials else None
    done = count(1)
    for (start, stop), pieces in zip(seen.shots, chosen, strict=True):
        kind = kind_of_all(looks_of(start, stop, seen.looks))
        if trier is not None and pieces:
            kind = trier(kind, pieces, lambda: job.at(next(done)))
        seen.kinds.append(kind)


def look_for_blur(
    frames: Iterable[Looking],
    expected: int | None,
    transfer: str | None,
    where: torch.device,
    job: Job,
) -> tuple[list[ops.Shot], list[Kind]]:
    """The shots of a video, counted from its first frame here, and how each is blurred."""
    seen = look_through(frames, expected, transfer, where, job, job.later)
    shots = [ops.Shot(start - seen.first, stop - seen.first) for start, stop in seen.shots]
    return shots, seen.kinds


def summary(
    seen: Seen,
    about: dict[str, Any],
    rate: float | None,
    bits: float | None,
    estimate: bool,
    device: str,
    job: Job,
) -> Analysis:
    """What was seen, in numbers; and what each quality costs if that is to be measured."""
    looks = seen.looks
    frames: dict[Kind, int] = {}
    for (start, stop), blurred in zip(seen.shots, seen.kinds, strict=True):
        frames[blurred] = frames.get(blurred, 0) + stop - start
    kind = kind_of_most(frames)
    found: list[Estimate] = []
    if estimate:
        found = estimates(frames, (about["height"], about["width"]), device, job)
    slow = next((each.seconds for each in found if each.quality == "best"), 0.0)
    quality = choose_quality("auto", lambda: slow)
    return Analysis(
        **about,
        frame_rate=rate,
        frames=tuple(looks),
        count=seen.first + seen.count,
        shots=tuple(
            shot_of(*shot, kind, looks, quality)
            for shot, kind in zip(seen.shots, seen.kinds, strict=True)
        ),
        quality=quality,
        kind=kind,
        blockiness=mean([look.blockiness for look in looks]),
        noise=mean([look.noise for look in looks]),
        bits_per_pixel=bits,
        estimates=tuple(found),
        cells=seen.cells,
    )


def shown(rgb: Tensor, transfer: str | None) -> Tensor:
    """Encoded RGB in [0, 1] of an image as it is stored."""
    rgb = rgb.clamp(0, 1)
    return from_linear(rgb, SRGB) if transfer == "linear" else rgb


def reduced(rgb: Tensor) -> tuple[Tensor, int]:
    """An image (3, H, W) no longer than `LONGEST`, and by what it was divided."""
    by = math.ceil(max(rgb.shape[-2:]) / LONGEST)
    return (rgb, 1) if by == 1 else (F.avg_pool2d(rgb[None], by)[0], by)


def summed_up(frame: Looking, looked: Looked, shrunk: int, rgb: Tensor) -> FrameLook:
    """A frame in numbers; lengths in pixels of the video."""
    motion, focus = looked.chance
    return FrameLook(
        index=frame.index,
        seconds=float(frame.time),
        kind=kind_of(motion, focus),
        motion=shrunk * looked.most(looked.motion),
        radius=shrunk * looked.most(looked.radius),
        chance_motion=motion,
        chance_focus=focus,
        blockiness=blockiness(rgb),
        noise=looked.noise,
    )


def steadied(looks: Sequence[FrameLook], shots: Sequence[tuple[int, int]]) -> list[FrameLook]:
    """Looks at frames, each judged with the ones before and after it in its shot."""
    found = list(looks)
    for start, stop in shots:
        own = [n for n, look in enumerate(looks) if start <= look.index < stop]
        chances = steady([(looks[n].chance_motion, looks[n].chance_focus) for n in own])
        for n, (motion, focus) in zip(own, chances, strict=True):
            kind = kind_of(motion, focus)
            found[n] = replace(looks[n], kind=kind, chance_motion=motion, chance_focus=focus)
    return found


def steady(chances: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Chances of frames in a row, each the mean with the ones before and after it, as log odds.

    >>> [round(motion, 2) for motion, _ in steady([(0.9, 0.0), (0.3, 0.0), (0.9, 0.0)])]
    [0.66, 0.77, 0.66]
    """
    if not chances:
        return []
    odds = torch.tensor(chances, dtype=torch.float64).logit(1e-6)  # (T, 2)
    mean = F.avg_pool1d(odds.T[None], 3, 1, 1, count_include_pad=False)  # (1, 2, T)
    return [(motion, focus) for motion, focus in mean[0].T.sigmoid().tolist()]


def kind_of(motion: float, focus: float) -> Kind:
    """The kind that two chances mean."""
    if motion > LIKELY:
        return "both" if focus > LIKELY else "motion"
    return "focus" if focus > LIKELY else "sharp"


def looks_of(start: int, stop: int, looks: Sequence[FrameLook]) -> list[FrameLook]:
    """Those of a shot; at least the nearest."""
    own = [look for look in looks if start <= look.index < stop]
    return own or [min(looks, key=lambda look: abs(look.index - start))]


def shot_of(
    start: int, stop: int, kind: Kind, looks: Sequence[FrameLook], quality: Literal["fast", "best"]
) -> Shot:
    """A shot in numbers, and what to restore it with."""
    own = looks_of(start, stop, looks)
    return Shot(
        start=start,
        stop=stop,
        looks=kind_of_all(own),
        kind=kind,
        motion=mean([look.motion for look in own]),
        radius=mean([look.radius for look in own]),
        model=RESTORED_BY[kind][quality == "best"],
    )


def kind_of_all(looks: Sequence[FrameLook]) -> Kind:
    """The kind of some frames: that of most of those that are blurred, where a quarter are."""
    return kind_of_most(Counter(look.kind for look in looks))


def kind_of_most(frames: Mapping[Kind, int]) -> Kind:
    """The same of frames by their kind.

    >>> kind_of_most({"sharp": 5, "motion": 3}), kind_of_most({"sharp": 5, "focus": 1})
    ('motion', 'sharp')
    """
    blurred = sum(many for kind, many in frames.items() if kind != "sharp")
    if blurred <= MANY * sum(frames.values()):
        return "sharp"
    share = {
        name: sum(many for kind, many in frames.items() if kind in (name, "both")) / blurred
        for name in ("motion", "focus")
    }
    return kind_of(*(0.0 if value < 0.5 else 1.0 for value in share.values()))


def blockiness(rgb: Tensor) -> float:
    """Steps at the limits of blocks of 8 pixels over those elsewhere, less 1; 0 without blocks."""
    luma = rgb.mean(0)
    found = []
    for steps in (luma[:, 1:] - luma[:, :-1], (luma[1:] - luma[:-1]).T):
        # The second difference leaves slopes out.
        sharp = (steps[:, 1:-1] - (steps[:, :-2] + steps[:, 2:]) / 2).abs()
        at = (torch.arange(sharp.shape[1]) + 2) % BLOCK == 0
        if at.any():
            found.append(float(sharp[:, at].mean() / sharp[:, ~at].mean().clamp_min(1e-6)))
    return max(0.0, mean(found) - 1) if found else 0.0


def mean(values: Sequence[float]) -> float:
    """Of some numbers."""
    return sum(values) / len(values)


def estimates(
    kinds: Mapping[Kind, int], size: tuple[int, int], device: str, job: Job
) -> list[Estimate]:
    """What each quality costs, by a short run of its models here and now.

    Args:
        kinds: frames by how their shots are blurred.
        size: height and width of the frames.
        device: as `choose_device` takes it.
        job: hears of each model that was measured.
    """
    found: list[Estimate] = []
    wanted = {quality: models_for(kinds, quality) for quality in QUALITIES}
    if not any(wanted.values()):
        return found
    job.begin(MEASURE, sum(map(len, wanted.values())))
    done = count(1)
    for quality, parts in wanted.items():
        try:
            found.append(cost_for(kinds, quality, size, device, None, lambda: job.at(next(done))))
        except (WeightsError, ResourceError) as error:
            names = " and ".join(parts)
            warnings.warn(f"no estimate for {names}: {error}", UnblurWarning, stacklevel=2)
    return found
