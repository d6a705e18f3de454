"""The preset `paper`: its first stage, its masks, its time, and going on after each stage."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.atlas import focus_pull
from unblur.atlas.fitting import fit, take
from unblur.atlas.fitting.canvas import Canvas
from unblur.atlas.fitting.fit import Fitter
from unblur.atlas.fitting.mapping import MlpMapping, raster_points
from unblur.atlas.fitting.paper import PaperModel
from unblur.atlas.fitting.presets import FitConfig, Phase, preset
from unblur.optics.disk_blur import disk_blur
from unblur.optics.lens import lens_radius

pytestmark = pytest.mark.filterwarnings("ignore:the layers, blurred again")
T, H, W = 3, 32, 32
PULL = focus_pull.clip()
FRAMES = PULL.blurred[:T, :, 10 : 10 + H, 16 : 16 + W]
LABELS = PULL.labels[:T, 10 : 10 + H, 16 : 16 + W]
RADII = torch.linspace(0, 3, T)[:, None, None, None].expand(T, 1, H, W)
SMALL = replace(
    preset("paper"),
    phases=(Phase(5, 1, 1),),
    widths=(8, 8, 8, 8),
    coc="none",  # frames need no margin then
    samples=32,
    network_rate=2e-3,
    upright=8,
)


def fitted(config: FitConfig = SMALL, **how: Any) -> Fitter:
    return take.fit_frames(FRAMES, config, labels=LABELS, **how)


def test_networks_learn_to_start_upright() -> None:
    """To within a pixel of the frame in the middle of the atlas; the paper's 1 : 0.8."""
    fitter = fitted(replace(SMALL, phases=(), samples=256, upright=120))
    model = fitter.model
    assert isinstance(model, PaperModel)
    assert model.sizes[0] == (40, 40)
    mapping = model.mappings[1]
    assert isinstance(mapping, MlpMapping)
    points = raster_points(T, H, W, Canvas(H, W), [1], mapping.device)
    grid = mapping.identity(points)[0]
    torch.testing.assert_close(grid[0, 1] - grid[0, 0], torch.tensor([1.0, 0.0]))
    with torch.no_grad():
        assert model.off_upright(torch.Generator().manual_seed(0)) < 1.5


def test_atlases_of_pixels_are_learned_with_maps_of_networks() -> None:
    """They start in the colour of the clip; nothing makes them but the steps."""
    config = replace(SMALL, atlas="explicit", pyramid=2)
    start = fitted(replace(config, phases=(), upright=0)).model
    model = fitted(config).model
    assert model.network is None
    mean = FRAMES.mean((0, 2, 3))
    for first, last in zip(start.atlases(), model.atlases(), strict=True):
        assert last.shape == (3, 40, 40)
        torch.testing.assert_close(first, mean[:, None, None].expand_as(first))
        assert (last - first).abs().max() > 0.02
    assert {name for name, *_ in model.groups()} == {"mappings", "opacities", "textures"}


def test_frames_are_the_composite_through_the_lens() -> None:
    """Equations 1 and 3, by the soft disk of beta 2."""
    config = replace(SMALL, coc="estimated")
    fitter = take.fit_frames(
        FRAMES, replace(config, phases=(), upright=0), labels=LABELS, radii=RADII
    )
    model = fitter.model
    canvas = Canvas(H, W)
    with torch.no_grad():
        look = model.look(canvas, [1])
        alpha = look.alphas[1]
        assert alpha is not None
        look = look._replace(colours=list(torch.rand(2, 1, 3, H, W)))
        back, front = look.colours
        sharp = alpha * front + (1 - alpha) * back
        expected = disk_blur(sharp, lens_radius(RADII[1:2], 2.0), 2.0)
        torch.testing.assert_close(model.blurred(look, 1), expected, rtol=0, atol=1e-3)
        assert (expected - sharp).abs().max() > 0.1


def opacity(fitter: Fitter) -> Tensor:
    """(T, H, W) of the foreground."""
    with torch.no_grad():
        alpha = fitter.model.look(Canvas(H, W), range(T)).alphas[1]
    assert alpha is not None
    return alpha[:, 0]


@pytest.mark.slow
def test_masks_are_where_opacity_begins() -> None:
    """As long as they count; what the networks make of the images comes after."""
    config = replace(SMALL, phases=(Phase(30, 1, 1),), bootstrap_until=10.0)
    inside, outside = LABELS > 0, LABELS == 0
    alpha = opacity(fitted(config))
    without = opacity(fitted(replace(config, bootstrap=0.0)))
    apart = alpha[inside].mean() - alpha[outside].mean()
    assert apart > 0.5
    assert apart > without[inside].mean() - without[outside].mean() + 0.3


class KilledError(Exception):
    pass


def killed(function: Callable[..., Any], number: int) -> Callable[..., Any]:
    """The function, but its call of that number raises."""
    calls = iter(range(10**6))

    def call(*args: Any, **kwargs: Any) -> Any:
        if next(calls) == number:
            raise KilledError
        return function(*args, **kwargs)

    return call


STAGES: dict[str, tuple[Any, str, int]] = {
    "flow": (take, "find_motion", 0),
    "radii": (take, "coc_radius", 0),
    "before the first step": (Fitter, "upright_step", 0),
    "upright": (Fitter, "upright_step", 4),
    "the last of upright": (Fitter, "upright_step", 7),
    "before the first phase": (Fitter, "one_step", 0),
    "a phase": (Fitter, "one_step", 2),
    "the last step": (Fitter, "one_step", 4),
    "the state": (take, "save_state", 6),
}


@pytest.fixture(scope="module")
def whole() -> Fitter:
    return fitted()


QUICK = ("flow", "upright", "a phase")


@pytest.mark.parametrize(
    "stage",
    [pytest.param(s, marks=[] if s in QUICK else pytest.mark.slow) for s in STAGES],
)
def test_goes_on_from_every_stage_as_if_it_had_not_been_killed(
    stage: str, whole: Fitter, tmp_path: Path
) -> None:
    original = Fitter.run

    def saving(self: Fitter, report: Any, minutes: Any, save: Any, closing: float) -> None:
        original(self, report, minutes, save, save_every=-1.0, closing=closing)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Fitter, "run", saving)
        with pytest.MonkeyPatch.context() as kill:
            place, name, number = STAGES[stage]
            kill.setattr(place, name, killed(getattr(place, name), number))
            with pytest.raises(KilledError):
                fitted(folder=tmp_path)
        taken = []
        for name in ("upright_step", "one_step"):
            step = getattr(Fitter, name)
            counted = lambda self, *a, s=step, n=name: (taken.append(n), s(self, *a))[1]  # noqa: E731
            patch.setattr(Fitter, name, counted)
        resumed = fitted(folder=tmp_path)
    place, name, number = STAGES[stage]
    if place is Fitter:
        done = number if name == "upright_step" else SMALL.upright + number
        assert len(taken) == SMALL.upright + SMALL.iterations - done, "nothing was done twice"
    assert (resumed.upright, resumed.step) == (whole.upright, whole.step) == (8, 5)
    assert resumed.done == whole.done == 5
    ours, theirs = resumed.model.state_dict(), whole.model.state_dict()
    for key, x in ours.items():
        torch.testing.assert_close(x, theirs[key], rtol=0, atol=1e-6)


@dataclass
class Clock:
    """Time that goes on only where a test says so."""

    now: float = 0.0

    def monotonic(self) -> float:
        return self.now

    def slow(self, function: Callable[..., Any], seconds: float) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            self.now += seconds
            return function(*args, **kwargs)

        return call


@pytest.mark.parametrize("flow", [0.0, 20.0, 200.0])
def test_minutes_hold_from_the_start(flow: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """With slow networks, and flow that takes a part of the time, or more than all of it."""
    clock = Clock()
    for room in (take, fit):
        monkeypatch.setattr(room, "time", clock)
    monkeypatch.setattr(take, "find_motion", clock.slow(take.find_motion, flow))
    for name, seconds in (("upright_step", 1.0), ("one_step", 5.0)):
        monkeypatch.setattr(Fitter, name, clock.slow(getattr(Fitter, name), seconds))
    long = replace(SMALL, phases=(Phase(1000, 1, 1),), upright=1000)
    fitter = fitted(long, minutes=1.0)
    last = 1.0 + 5.0  # a step of each stage may go past its end
    assert clock.now == fitter.seconds <= max(60.0, flow) + last
    assert flow > 60 or clock.now >= 60
    assert fitter.step >= 1000
    assert fitter.done <= max(1, 60 / 5 + 1), "what was not done is not counted"


def test_minutes_may_be_those_of_another_clock() -> None:
    """Of the CPU, say: here one that goes on a second whenever it is looked at."""
    long = replace(SMALL, phases=(Phase(1000, 1, 1),), upright=0)
    looks = itertools.count()
    fitter = fitted(long, minutes=0.5, clock=lambda: float(next(looks)))
    closing = take.PER_FRAME * T + take.PER_PREVIEW
    assert 30 - closing <= fitter.seconds <= 30 - closing + 1
    assert fitter.done == fitter.seconds - fitter.prepared
    assert fitter.step == 1000


def test_minutes_hold_what_comes_after_the_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Layers that slow networks make of every frame."""
    clock = Clock()
    for room in (take, fit):
        monkeypatch.setattr(room, "time", clock)
    monkeypatch.setattr(PaperModel, "look", clock.slow(PaperModel.look, 4.0))
    long = replace(SMALL, phases=(Phase(1000, 1, 1),), upright=0)
    fitter = fitted(long, minutes=2.0)
    assert clock.now < 120 - 4.0 * T
    take.layers_of(fitter.model)
    assert 60 < clock.now <= 120


@pytest.mark.slow
def test_a_fit_that_goes_on_counts_the_time_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    for room in (take, fit):
        monkeypatch.setattr(room, "time", clock)
    step = clock.slow(Fitter.one_step, 5.0)
    long = replace(SMALL, phases=(Phase(1000, 1, 1),))
    monkeypatch.setattr(Fitter, "one_step", killed(step, 14))
    with pytest.raises(KilledError):
        fitted(long, minutes=2.0, folder=tmp_path)
    monkeypatch.setattr(Fitter, "one_step", step)
    assert fitted(long, minutes=2.0, folder=tmp_path).seconds <= 125
    assert clock.now <= 125 + 60, "at most what was not yet kept is done twice"


def test_atlases_turn_black_where_hidden_by_steps_not_by_time() -> None:
    """Of a fit that is cut short the atlases would turn black all over, before they are found."""
    fitter = fitted(replace(SMALL, phases=(Phase(1, 1, 1),), upright=1))
    (phase,) = phases = (Phase(1000, 1, 1),)
    fitter.config = replace(SMALL, phases=phases, bootstrap=0.0)

    def loss(done: int, progress: float) -> float:
        fitter.done = done
        with torch.no_grad():
            return float(fitter.image_loss(phase, torch.Generator().manual_seed(0), progress))

    assert loss(0, 0.9) == loss(0, 0.01) < loss(99, 0.01)
