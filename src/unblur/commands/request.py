"""What is wanted of a restoration: every option with its type, checked, and what does the work."""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Literal, TypedDict, get_args

import torch

from unblur.commands.cost import models_for
from unblur.commands.resume import Chosen
from unblur.engine.by_shot import ByShot
from unblur.engine.estimate import SMALL_SIDE, Cost, cost_per_frame, side_for
from unblur.engine.fusion import Fuse, Fusion, choose_fusion, choose_radius
from unblur.engine.plan import MemoryPlan, choose_fit
from unblur.engine.rendition import choose_rendition
from unblur.engine.run import Runner
from unblur.errors import UsageError
from unblur.guidance.of_video import FocusOfVideo
from unblur.ops import memory
from unblur.ops.color import known_transfers
from unblur.ops.device import choose_device
from unblur.ops.shots import Shot
from unblur.progress import Job, Listener, Plan
from unblur.restorers.base import NO_STAND_IN, Precision, Restorer, RestorerInfo
from unblur.restorers.registry import (
    FOR,
    NOTHING,
    RESTORED_BY,
    Blur,
    Kind,
    Quality,
    choose_model,
    choose_precision,
    choose_quality,
    choose_scale,
    load_model,
    model_of,
    preset,
)
from unblur.video import Format, Time, VideoReader

LightChoice = Literal["auto", "linear", "encoded"]
DEPTHS = ("builtin", "depth-anything")
"""Sources of depth beside files."""
When = str | float | Time
"""A point in a video: seconds, or words such as `2.5s`, `f10`, `hh:mm:ss`."""


class FrameOptions(TypedDict, total=False):
    """Options for files and for frames."""

    model: str | Restorer
    blur: Blur
    quality: Quality
    weights: str | os.PathLike[str] | None
    device: str | torch.device
    precision: str
    light: LightChoice
    strength: float
    fuse: Fuse
    scale: int | None
    depth: str | os.PathLike[str] | None
    depth_invert: bool
    tile: int | None
    window: int | None
    max_memory: int | None
    seed: int
    progress: Listener | None


class ArrayOptions(FrameOptions, total=False):
    """Options for frames that a program holds."""

    transfer: str | None


class FileOptions(FrameOptions, total=False):
    """Options for files."""

    start: When | None
    end: When | None
    codec: str | None
    crf: int | None
    pixel_format: str | None
    format: Format | None
    stream: int | None
    overwrite: bool
    resume: bool
    preview: bool
    at: When | None
    strict: bool
    deinterlace: bool
    cluster: str | None


class Options(ArrayOptions, FileOptions, total=False):
    """All of them."""


DEFAULTS: Mapping[str, Any] = {
    "model": "auto",
    "blur": "auto",
    "quality": "auto",
    "device": "auto",
    "precision": "auto",
    "light": "auto",
    "strength": 1.0,
    "fuse": "auto",
    "depth_invert": False,
    "seed": 0,
    "overwrite": False,
    "resume": False,
    "preview": False,
    "strict": False,
    "deinterlace": False,
}
"""Of all options; None where none is named."""
_WORD, _WHOLE, _PATH = (str,), (Integral,), (str, os.PathLike)
_KINDS: Mapping[str, tuple[tuple[type, ...], str]] = {
    **dict.fromkeys(("blur", "quality", "precision", "light"), (_WORD, "a word")),
    **dict.fromkeys(("codec", "pixel_format", "format", "transfer"), (_WORD, "a name")),
    "cluster": (_WORD, "an address, or 'auto'"),
    **dict.fromkeys(("scale", "tile", "window", "crf", "stream"), (_WHOLE, "a whole number")),
    **dict.fromkeys(("max_memory", "seed"), (_WHOLE, "a whole number")),
    **dict.fromkeys(("weights", "depth"), (_PATH, "a path")),
    **dict.fromkeys(("start", "end", "at"), ((str, Real, Time), "seconds, or a word as '2.5s'")),
    "device": ((str, torch.device), "a name as 'cpu' or 'cuda:0'"),
    "strength": ((Real,), "a number from 0 to 1"),
    "fuse": ((str, Integral), "'auto', 'off' or a whole number"),
}


def check_kinds(options: Mapping[str, Any]) -> None:
    """Raises `UsageError` where the value of an option is of a kind that it cannot be."""
    for name, value in options.items():
        default = DEFAULTS.get(name)
        if value is None and default is None:
            continue
        if name == "model":
            check_model(value)
        elif name == "progress":
            if not callable(value):
                raise UsageError(f"progress {value!r}: takes a function of one argument")
        elif isinstance(default, bool):
            if not isinstance(value, bool):
                raise UsageError(f"{name} {value!r}: takes True or False")
        else:
            kinds, said = _KINDS[name]
            if not isinstance(value, kinds) or isinstance(value, bool):
                raise UsageError(f"{name} {value!r}: takes {said}")


def check_model(model: object) -> None:
    """Raises `UsageError` for what is neither a name nor a restorer."""
    parts = ("info", "windows", "guide", "run", "peak_bytes")
    if not isinstance(model, str) and not all(hasattr(model, part) for part in parts):
        raise UsageError(
            f"model {model!r}: takes a name of unblur.list_models(), or what unblur.load_model() "
            "gives"
        )


def when(time: When | None) -> str | Time | None:
    """A point in a video as `unblur.video` takes it: numbers are seconds."""
    if time is None or isinstance(time, str | Time):
        return time
    seconds = float(time)
    if not 0 <= seconds < 1e12:
        raise UsageError(f"{time} is not a time: give seconds from 0 on")
    return f"{seconds:.9f}s"


@dataclass(frozen=True)
class Request:
    """Options that fit together; made by `request`."""

    model: str | Restorer
    info: RestorerInfo
    device: torch.device
    options: ArrayOptions
    costs: dict[str, Cost] = field(default_factory=dict, compare=False, repr=False)
    """What was measured of models, by name: each is timed once."""
    beside: int = 0
    """Bytes of main memory that are for the encoder."""

    @property
    def by_shot(self) -> bool:
        """True where each shot is looked at, and restored by what it needs."""
        unnamed = self.model == "auto" and self.options["weights"] is None
        return unnamed and self.options["blur"] == "auto"

    @property
    def untouched(self) -> bool:
        """True where frames pass as they are."""
        nothing = self.options["strength"] == 0 and self.info.scale == 1
        return self.info.passes_through or nothing

    def focus(
        self, reader: VideoReader | None, info: RestorerInfo | None = None
    ) -> FocusOfVideo | None:
        """Where depth and blur maps come from; None for a model that needs none.

        `info` is that of a model that was chosen since.
        """
        info = info or self.info
        if not info.needs_depth:
            return None
        by_default = "depth-anything" if info.real_depth else "builtin"
        choice = self.options["depth"] or by_default
        return FocusOfVideo(choice, reader, self.options["depth_invert"], str(self.device))

    def runner(
        self,
        job: Job,
        size: tuple[int, int],
        frames: int | None,
        transfer: str | None,
        focus: FocusOfVideo | None,
        before: Chosen | None = None,
    ) -> Runner:
        """Loads the model, cuts the job up, and tells the job's plan.

        Args:
            job: gets the plan.
            size: height and width of the frames.
            frames: how many there will be, where known.
            transfer: of their signal, as `ops.color` names it; None: sRGB's.
            focus: what `focus` gave.
            before: what the job that is gone on with chose.
        """
        name = None if before is None else next(iter(before.fits))
        restorer = self._restorer(size, frames, name)
        fit = None if before is None else before.fits[restorer.info.name]
        runner = self._at_work(restorer, size, frames, transfer, focus, fit)
        job.plan = self._plan(restorer, runner, size, frames, sum(runner.cost) * (frames or 0))
        return runner

    def runner_by_shot(
        self,
        job: Job,
        size: tuple[int, int],
        shots: Sequence[Shot],
        kinds: Sequence[Kind],
        transfer: str | None,
        before: Chosen | None = None,
    ) -> ByShot:
        """The same where each shot may have a model of its own.

        Args:
            job: gets the plan.
            size: height and width of the frames.
            shots: of all frames.
            kinds: how each is blurred.
            transfer: of their signal.
            before: what the job that is gone on with chose.
        """
        lengths = [shot.stop - shot.start for shot in shots]
        models = before.models if before is not None else None
        if models is None:
            frames: Counter[Kind] = Counter()
            for length, kind in zip(lengths, kinds, strict=True):
                frames[kind] += length
            slow = partial(self._seconds, size, models_for(frames, "best"))
            quality = choose_quality(self.options["quality"], slow)
            models = tuple(RESTORED_BY[kind][quality == "best"] for kind in kinds)
        parts: Counter[str] = Counter()
        for length, model in zip(lengths, models, strict=True):
            parts[model] += length
        total = sum(lengths)
        runners = {}
        for name in sorted(parts.keys() - {NOTHING}):
            restorer = self._load(name, self.options["precision"])
            focus = self.focus(None, restorer.info)
            fit = None if before is None else before.fits[name]
            runners[name] = self._at_work(restorer, size, parts[name], transfer, focus, fit)
        many = sum(sum(runner.cost) * parts[name] for name, runner in runners.items())
        if runners:
            main = max(runners, key=lambda name: parts[name])
            plan = self._plan(runners[main].restorer, runners[main], size, total, many)
            names = " and ".join(runners)
            job.plan = dataclasses.replace(plan, model=names, parts=dict(parts))
        else:
            height, width = size
            job.plan = Plan(NOTHING, str(self.device), None, total, "frames", width, height)
        return ByShot(shots, models, runners)

    def _at_work(
        self,
        restorer: Restorer,
        size: tuple[int, int],
        frames: int | None,
        transfer: str | None,
        focus: FocusOfVideo | None,
        fit: MemoryPlan | None,
    ) -> Runner:
        """A restorer that is ready to run, cut up as `fit` says or as memory allows."""
        height, width = size
        options, where = self.options, self.device
        side = None
        if frames and options["progress"] is not None:
            side = side_for(frames, height, width)
        limit = options["max_memory"]
        room = memory.budget(where, limit) - (self.beside if where.type == "cpu" else 0)
        fusion = choose_fusion(options["fuse"], restorer.info, where)
        free = memory.free(where) if limit is None else None
        tile, window = options["tile"], options["window"]
        if fit is None:
            fit = choose_fit(restorer, height, width, room, tile, window, free, limit, fusion)
        cost = self._cost(restorer, size, side, fusion) if side else Cost()
        look = choose_rendition(restorer, options["light"], transfer, options["strength"])
        exactly = None
        if isinstance(self.model, str) and self._precision(restorer) != "fp32":
            exactly = partial(self._load, restorer.info.name, "fp32")
        runner = Runner(restorer, look, fit, focus, fusion, exactly)
        runner.cost = cost
        return runner

    def _precision(self, restorer: Restorer) -> str:
        precision = self.options["precision"]
        if precision == "auto" and isinstance(self.model, str):
            return choose_precision(precision, restorer.info, self.device)
        return precision

    def _plan(
        self,
        restorer: Restorer,
        runner: Runner,
        size: tuple[int, int],
        frames: int | None,
        seconds: float,
    ) -> Plan:
        fit, info = runner.fit, restorer.info
        return Plan(
            model=info.name,
            device=str(self.device),
            precision=self._precision(restorer),
            total=frames,
            width=size[1],
            height=size[0],
            seconds=seconds or None,
            light=runner.look.light,
            tile=fit.tiling.size if fit.tiling else None,
            window=fit.window or info.window,
        )

    def _restorer(self, size: tuple[int, int], frames: int | None, before: str | None) -> Restorer:
        if not isinstance(self.model, str):
            return self.model
        precision = self.options["precision"]
        if before is not None:
            return self._load(before, precision)
        chosen = self.model
        if chosen == "auto":
            chosen = self._chosen(size, frames)
        return self._load(chosen, precision)

    def _seconds(self, size: tuple[int, int], parts: Mapping[str, int]) -> float:
        """What frames take, by the model that restores them."""
        side = side_for(sum(parts.values()), *size) or SMALL_SIDE
        seconds = 0.0
        for name, frames in parts.items():
            precision = self.options["precision"]
            restorer = load_model(name, device=str(self.device), precision=precision)
            fusion = choose_fusion(self.options["fuse"], restorer.info, self.device)
            seconds += frames * sum(self._cost(restorer, size, side, fusion))
        return seconds

    def _chosen(self, size: tuple[int, int], frames: int | None) -> str:
        """The model for so many frames, where none is named."""
        blur = self.options["blur"]

        def seconds() -> float | None:
            return None if frames is None else self._seconds(size, {FOR[blur][1]: frames})

        return choose_model(self.options["quality"], seconds, blur)

    def _cost(
        self, restorer: Restorer, size: tuple[int, int], side: int, fusion: Fusion | None
    ) -> Cost:
        """Seconds that a frame takes."""
        key = f"{restorer.info.name}, fused" if fusion is not None else restorer.info.name
        if key not in self.costs:
            self.costs[key] = cost_per_frame(restorer, *size, side, fusion)
        return self.costs[key]

    def expected(self, size: tuple[int, int], frames: int | None) -> float | None:
        """Seconds that so many frames would take if motion had blurred all; None: not measured."""
        side = side_for(frames, *size) if frames else None
        if frames is None or side is None or self.options["progress"] is None:
            return None
        restorer = self._load(self._chosen(size, frames), self.options["precision"])
        fusion = choose_fusion(self.options["fuse"], restorer.info, self.device)
        return frames * sum(self._cost(restorer, size, side, fusion))

    def _load(self, name: str, precision: str) -> Restorer:
        own = self.options["weights"]
        return load_model(
            name,
            weights=None if own is None else Path(own),
            device=str(self.device),
            precision=precision,
            scale=self.options["scale"],
        )


def request(options: ArrayOptions) -> Request:
    """Checks all options of a restoration; nothing is loaded yet.

    Raises:
        UsageError: one is wrong, or two do not fit each other.
        WeightsError: the weights that are to name the model cannot be read.
        ResourceError: the device is not there.
    """
    model, quality, weights = options["model"], options["quality"], options["weights"]
    _check(options)
    if not isinstance(model, str):
        check_loaded(model, options)
        info = model.info
        device = getattr(model, "device", torch.device("cpu"))
    else:
        blur = options["blur"]
        _check_choice("quality", quality, Quality, model)
        _check_choice("for", blur, Blur, model)
        if model == quality == blur == "auto" and weights is not None:
            model = model_of(Path(weights))
        info = preset(FOR[blur][1] if model == "auto" else model).info
        info = dataclasses.replace(info, scale=choose_scale(options["scale"], info))
        device = choose_device(str(options["device"]))
    _check_depth(info, options["depth"], options["depth_invert"])
    choose_radius(options["fuse"], info)  # complains before anything is read
    return Request(model, info, device, options)


def check_loaded(restorer: Restorer, options: Mapping[str, Any]) -> None:
    """Raises `UsageError` for what had to be said when a model was loaded."""
    for name in ("blur", "quality", "weights", "device", "precision", "scale"):
        if options[name] != DEFAULTS.get(name):
            raise UsageError(
                f"{name} {options[name]!r}: {restorer.info.name} is loaded already; leave it out, "
                "or give it to unblur.load_model"
            )


def check_for_arrays(options: Mapping[str, Any]) -> None:
    """Raises `UsageError` for options that only files have."""
    own = FileOptions.__annotations__.keys() - FrameOptions.__annotations__.keys()
    for name in sorted(own & options.keys()):
        if options[name] != DEFAULTS.get(name):
            raise UsageError(f"{name} {options[name]!r} is for files: leave it out for frames")
    depth = options["depth"]
    if depth not in (None, *DEPTHS):
        raise UsageError(f"depth '{depth}': frames take {' or '.join(DEPTHS)}")
    transfer = options["transfer"]
    if transfer is not None and transfer not in known_transfers():
        known = ", ".join(sorted(known_transfers()))
        raise UsageError(f"transfer '{transfer}' is not known: use one of {known}")


def _check(options: Mapping[str, Any]) -> None:
    strength, light, tile = options["strength"], options["light"], options["tile"]
    if not 0 <= strength <= 1:
        raise UsageError(f"strength {strength}: takes 0 (input) to 1 (fully restored)")
    if light not in get_args(LightChoice):
        raise UsageError(f"light '{light}': use auto, linear or encoded")
    if tile is not None and tile != 0 and tile < 32:
        raise UsageError(f"tile {tile}: use at least 32 pixels, or 0 for whole frames")
    precision = options["precision"]
    if precision not in ("auto", *get_args(Precision)):
        known = ", ".join(get_args(Precision))
        raise UsageError(f"unknown precision '{precision}': use auto, {known}")
    for name in ("window", "max_memory"):
        value = options[name]
        if value is not None and value < 1:
            raise UsageError(f"{name.replace('_', '-')} {value}: must be positive")
    if not -(2**63) <= options["seed"] < 2**63:
        raise UsageError(f"seed {options['seed']}: use a number of up to 18 digits")
    crf = options.get("crf")
    if crf is not None and not 0 <= crf <= 63:
        raise UsageError(f"crf {crf}: use 0 (best) to 51 (63 for AV1 and VP9)")


def _check_choice(option: str, value: str, known: Any, model: str) -> None:
    if value not in get_args(known):
        raise UsageError(f"{option} '{value}': use {', '.join(get_args(known))}")
    if value != "auto" and model != "auto":
        raise UsageError(f"--{option} {value} chooses the model: leave out --model {model}")


def _check_depth(info: RestorerInfo, depth: str | os.PathLike[str] | None, invert: bool) -> None:
    if not info.needs_depth and (depth is not None or invert):
        option = "--depth-invert" if depth is None else f"--depth {depth}"
        raise UsageError(
            f"{info.name} does not look at depth: leave {option} out, or take --for focus"
        )
    if info.real_depth and depth == "builtin":
        raise UsageError(NO_STAND_IN.format(name=info.name))
    if invert and depth in (None, *DEPTHS):
        raise UsageError("--depth-invert is for depth maps from files: name them by --depth DIR")
