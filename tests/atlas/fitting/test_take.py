"""Fitting layers to a clip, from the file to the project."""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import unblur.atlas
from tests.atlas import focus_pull
from tests.video.media import make_clip
from unblur.atlas.fitting import inputs, take
from unblur.atlas.fitting.fit import Fitter, Status, sharp_frames
from unblur.atlas.fitting.presets import PRESETS, FitConfig, Phase, preset
from unblur.cli import main
from unblur.errors import NumericsError, ResourceError, UnblurWarning, UsageError, WeightsError
from unblur.metrics import psnr

QUICK = replace(
    preset("cpu"),
    name="quick",
    phases=(Phase(4, 2, 2, geometry=False), Phase(8, 2, 2), Phase(30, 1, 2)),
    largest_radius=5.0,
)
PULL = focus_pull.clip()


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PRESETS, "cpu", QUICK)


@pytest.fixture(scope="module")
def fitted() -> Fitter:
    return take.fit_frames(PULL.blurred, QUICK, labels=PULL.labels)


def sharpness(fitter: Fitter) -> float:
    return float(psnr(sharp_frames(fitter.model), PULL.sharp).mean())


def test_sharper_than_the_clip(fitted: Fitter) -> None:
    before = float(psnr(PULL.blurred, PULL.sharp).mean())
    assert sharpness(fitted) > before + 2
    assert fitted.psnr > 27


def test_radii_are_found(fitted: Fitter) -> None:
    """The focus goes from the object to the background: one gets blurred, the other sharp."""
    layers = take.layers_of(fitted.model)
    found = torch.stack([layer.radius[:, 0, 24, 32] for layer in layers[::-1]])
    assert (found - PULL.radii).abs().mean() < 0.8
    assert found[0, 0] > found[0, -1] + 1
    assert found[1, -1] > found[1, 0] + 1


def test_layers_render_as_the_fit_does(fitted: Fitter, tmp_path: Path) -> None:
    project = project_of(fitted).save(tmp_path / "p")
    sharp = sharp_frames(fitted.model)
    assert psnr(project.render("sharp"), sharp).min() > 40
    # The fit renders a margin around the frame, and a project does not.
    inner = (..., slice(6, -6), slice(6, -6))
    again = project.render("reblurred")[inner]
    assert psnr(again, PULL.blurred[inner]).mean() > 27


def project_of(fitter: Fitter) -> unblur.atlas.Project:
    from fractions import Fraction

    times = tuple(Fraction(t, 25) for t in range(focus_pull.T))
    return unblur.atlas.Project(take.layers_of(fitter.model), PULL.blurred, times)


@pytest.mark.slow
def test_a_fit_without_lens_is_less_sharp(fitted: Fitter) -> None:
    plain = take.fit_frames(PULL.blurred, replace(QUICK, coc="none"), labels=PULL.labels)
    assert sharpness(plain) < sharpness(fitted) - 1
    assert all(layer.radius is None for layer in take.layers_of(plain.model))


class KilledError(Exception):
    pass


def test_goes_on_where_it_was_cut_off(tmp_path: Path) -> None:
    """The second call ends as one that was not stopped."""
    config = replace(QUICK, phases=(Phase(2, 2, 2, geometry=False), Phase(24, 1, 1)))
    whole = take.fit_frames(PULL.blurred, config, labels=PULL.labels)
    folder = tmp_path / "p"

    def kill(status: Status) -> None:
        if status.step == 20:
            raise KilledError

    original = Fitter.run

    def saving(self: Fitter, report: Any, minutes: Any, save: Any, closing: float) -> None:
        original(self, report, minutes, save, save_every=0.0, closing=closing)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Fitter, "run", saving)
        with pytest.raises(KilledError):
            take.fit_frames(PULL.blurred, config, labels=PULL.labels, folder=folder, progress=kill)
    assert (folder / "fit" / "state.safetensors").is_file()
    steps: list[int] = []
    second = take.fit_frames(
        PULL.blurred,
        config,
        labels=PULL.labels,
        folder=folder,
        progress=lambda status: steps.append(status.step),
    )
    assert steps == [20, 26], "went on from step 19"
    assert abs(sharpness(second) - sharpness(whole)) < 0.1


KILLABLE = replace(QUICK, phases=(Phase(6, 2, 2, geometry=False), Phase(40, 1, 1)))


def fit_and_tell(folder: str) -> None:
    """Fits into a folder with the state kept after each step, and prints which one that was."""
    original = Fitter.run

    def telling(self: Fitter, report: Any, minutes: Any, save: Callable[[], None]) -> None:
        def save_and_tell() -> None:
            save()
            sys.stdout.write(f"{self.step}\n")
            sys.stdout.flush()

        original(self, report, minutes, save_and_tell, save_every=0.0)

    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Fitter, "run", telling)
        take.fit_frames(PULL.blurred, KILLABLE, labels=PULL.labels, folder=Path(folder))


@pytest.mark.slow
def test_goes_on_wherever_it_was_killed(tmp_path: Path) -> None:
    """A process that ends without warning, in whatever it is doing, costs no sharpness."""
    seen: list[int] = []
    for last in (3, 17, 30):
        code = f"from {__name__} import fit_and_tell; fit_and_tell({str(tmp_path)!r})"
        with subprocess.Popen(
            [sys.executable, "-c", code], cwd=Path(__file__).parents[3], stdout=subprocess.PIPE
        ) as child:
            assert child.stdout is not None
            for line in child.stdout:
                seen.append(int(line))
                if seen[-1] >= last:
                    child.kill()  # the next step, or the writing of its state, has begun
                    break
        assert child.returncode != 0, "it was not done"
    assert seen == sorted(seen), "no process began anew"
    resumed = take.fit_frames(PULL.blurred, KILLABLE, labels=PULL.labels, folder=tmp_path)
    whole = take.fit_frames(PULL.blurred, KILLABLE, labels=PULL.labels)
    assert resumed.step == whole.step == 46
    assert abs(sharpness(resumed) - sharpness(whole)) < 0.1


def test_a_state_of_another_fit_is_not_taken(tmp_path: Path) -> None:
    short = replace(QUICK, phases=(Phase(1, 1, 1),))
    take.fit_frames(PULL.blurred, short, labels=PULL.labels, folder=tmp_path)
    other = take.fit_frames(
        PULL.blurred, replace(short, seed=1), labels=PULL.labels, folder=tmp_path
    )
    assert other.step == 1


def test_damaged_state(tmp_path: Path) -> None:
    (tmp_path / "fit").mkdir()
    (tmp_path / "fit" / "state.safetensors").write_bytes(b"nonsense")
    with pytest.raises(WeightsError, match="delete it"):
        take.fit_frames(PULL.blurred, QUICK, labels=PULL.labels, folder=tmp_path)


def test_time_limit_cuts_phases_short() -> None:
    long = replace(QUICK, phases=(Phase(10_000, 2, 1), Phase(10_000, 1, 1)))
    fitter = take.fit_frames(PULL.blurred, long, labels=PULL.labels, minutes=1 / 60)
    assert fitter.step >= 20_000  # both phases are over, as far as their counting goes
    assert fitter.seconds < 60  # so many steps take many minutes


@pytest.mark.usefixtures("quick")
def test_command_writes_a_project(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clip = focus_pull.write(PULL.blurred, tmp_path / "clip")
    masks = focus_pull.write(PULL.labels[:, None].float().expand(-1, 3, -1, -1), tmp_path / "masks")
    folder = tmp_path / "project"
    words = ["atlas", "fit", str(clip), str(folder), "--masks", str(masks)]
    assert main(words) == 0
    assert "foreground, background" in capsys.readouterr().out
    project = unblur.atlas.open(folder)
    assert [layer.name for layer in project.layers] == ["foreground", "background"]
    assert project.about["preset"] == "quick"
    assert psnr(project.render("sharp"), PULL.sharp).mean() > psnr(PULL.blurred, PULL.sharp).mean()
    # The object is where it was painted.
    alpha = project.layers[0].alpha[5][0] > 0.5
    both = (alpha & (PULL.labels[5] > 0)).sum() / (alpha | (PULL.labels[5] > 0)).sum()
    assert both > 0.8
    assert main(words) == 2
    assert "--overwrite" in capsys.readouterr().err


def test_one_layer_where_nothing_moves_on_its_own() -> None:
    still = focus_pull.clip(moves=False)
    with pytest.warns(UnblurWarning, match="one layer"):
        fitter = take.fit_frames(still.blurred, replace(QUICK, phases=(Phase(2, 2, 2),)))
    assert fitter.model.names == ["background"]
    assert len(take.layers_of(fitter.model)) == 1


def test_even_focus_is_told() -> None:
    even = focus_pull.clip(pull=False)
    with pytest.warns(UnblurWarning, match="little to gain"):
        take.fit_frames(
            even.blurred,
            replace(QUICK, phases=(Phase(1, 2, 2),)),
            labels=even.labels,
            radii=torch.full((focus_pull.T, 1, focus_pull.H, focus_pull.W), 2.0),
        )


@pytest.mark.slow
@pytest.mark.parametrize("pool", [1, 5])
def test_even_focus_is_found(pool: int) -> None:
    """By coc-s, in a clip that is as sharp, or as blurred, all the time."""
    even = torch.nn.functional.avg_pool2d(PULL.sharp, pool, 1, pool // 2, count_include_pad=False)
    with pytest.warns(UnblurWarning, match="little to gain"):
        take.fit_frames(even, replace(QUICK, phases=(Phase(1, 2, 2),)), labels=PULL.labels)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::unblur.errors.UnblurWarning")
@pytest.mark.parametrize("odd", ["still", "mask in one frame", "black frame"])
def test_odd_clips_are_not_turned_grey(odd: str) -> None:
    frames, labels = PULL.blurred.clone(), PULL.labels.clone()
    if odd == "still":
        frames, labels = frames[:1].expand_as(frames), labels[:1].expand_as(labels)
    elif odd == "mask in one frame":
        labels[:3], labels[4:] = 0, 0
    else:
        frames[4] = 0
    short = replace(QUICK, phases=(Phase(4, 2, 2, geometry=False), Phase(6, 1, 2)))
    made = sharp_frames(take.fit_frames(frames, short, labels=labels).model)
    kept = [t for t in range(focus_pull.T) if odd != "black frame" or t != 4]
    assert psnr(made[kept], frames[kept]).min() > 17.5  # of one even grey: 16.5
    assert made.std() > 0.8 * frames[kept].std()


def test_layers_that_do_not_look_like_the_clip_are_told() -> None:
    """Two shots that do not belong together cannot be one atlas."""
    frames = torch.cat((PULL.blurred[:5], PULL.blurred[5:].flip(-1, -2)))
    with pytest.warns(UnblurWarning, match="only .* dB like the clip"):
        take.fit_frames(frames, replace(QUICK, phases=(Phase(20, 1, 2),)), labels=PULL.labels)


def test_values_that_are_not_finite_end_the_fit() -> None:
    short = replace(QUICK, phases=(Phase(1, 1, 1),))
    fitter = take.fit_frames(PULL.blurred, short, labels=PULL.labels)
    with torch.no_grad():
        next(iter(fitter.model.parameters())).fill_(torch.nan)
    with pytest.raises(NumericsError, match="not finite in step 1"):
        fitter.one_step(0.5)


def test_a_cut_is_named(tmp_path: Path) -> None:
    other = PULL.blurred.flip(-1).flip(1) * 0.6
    clip = focus_pull.write(torch.cat((PULL.blurred[:6], other[:6])), tmp_path / "clip")
    with pytest.raises(UsageError, match=r"cut at frame 6.*--end f6"):
        take.fit(clip, tmp_path / "p")


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        (torch.ones(4, 3, 48, 64), "4 masks for 10 frames"),
        (torch.ones(12, 3, 48, 64), "more masks for 10 frames"),
        (torch.ones(10, 3, 40, 64), "64x40 do not fit frames of 64x48"),
        (torch.ones(10, 3, 48, 64), "white all over"),
        (torch.zeros(10, 3, 48, 64), "black all over"),
    ],
)
def test_wrong_masks(masks: torch.Tensor, message: str, tmp_path: Path) -> None:
    clip = focus_pull.write(PULL.blurred, tmp_path / "clip")
    with pytest.raises(UsageError, match=message):
        take.fit(clip, tmp_path / "p", masks=focus_pull.write(masks, tmp_path / "masks"))
    assert not (tmp_path / "p").exists()


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"layers": 9}, "1 to 6 layers"),
        ({"minutes": 0}, "above 0"),
        ({"preset_name": "slow"}, "cpu, fast, paper"),
        ({"preset_name": "paper", "coc": "learned"}, "learns no radii"),
        ({"end": "f2"}, "at least 3"),
        ({"masks": "nowhere"}, "no masks"),
        ({"point": (500.0, 2.0)}, "outside"),
        ({"device": "tpu"}, "unknown device"),
        ({"device": "meta"}, "does not run on 'meta': use auto, cpu, cuda, cuda:N"),
    ],
)
def test_wrong_requests(how: dict[str, object], message: str, tmp_path: Path) -> None:
    clip = focus_pull.write(PULL.blurred, tmp_path / "clip")
    with pytest.raises(UsageError, match=message):
        take.fit(clip, tmp_path / "p", **how)  # type: ignore[arg-type]


def test_too_much_for_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "available", lambda: 2_000_000)
    with pytest.raises(ResourceError, match="--start and --end"):
        take.fit_frames(PULL.blurred, QUICK)
    with pytest.raises(UsageError, match="too many"):
        inputs.check_size(5000, 64, 64)


@pytest.mark.slow
def test_masks_are_found_where_there_are_none() -> None:
    """As good as painted ones, nearly."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = take.fit_frames(PULL.blurred, QUICK)
    assert sharpness(found) > float(psnr(PULL.blurred, PULL.sharp).mean()) + 1.5


@pytest.mark.slow
def test_three_layers() -> None:
    labels = PULL.labels.clone()
    labels[:, :10, :16] = 1
    labels[PULL.labels > 0] = 2
    config: FitConfig = replace(QUICK, phases=(Phase(10, 1, 2),))
    layers = take.layers_of(take.fit_frames(PULL.blurred, config, labels=labels).model)
    assert [layer.name for layer in layers] == ["foreground", "layer-1", "background"]
    assert layers[1].alpha.mean() < 0.3


@pytest.mark.parametrize("what", ["a byte of a layer", "a number"])
def test_a_state_that_is_not_as_it_was_written_is_refused(tmp_path: Path, what: str) -> None:
    """One number that is another would become part of every picture."""
    take.fit_frames(PULL.blurred, QUICK, labels=PULL.labels, folder=tmp_path)
    path = tmp_path / "fit" / "state.safetensors"
    state = path.read_bytes()
    if what == "a number":
        at = state.index(b"done") + len(b'done\\": ')
        state = state[:at] + (b"1" if state[at : at + 1] != b"1" else b"2") + state[at + 1 :]
    else:
        state = state[:-1] + bytes([state[-1] ^ 1])
    path.write_bytes(state)
    with pytest.raises(WeightsError, match=r"not as it was written.*delete it to start again"):
        take.fit_frames(PULL.blurred, QUICK, labels=PULL.labels, folder=tmp_path)


def test_a_second_fit_in_one_folder_is_refused(
    quick: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both would write one state, and each take up the other's."""

    def inside(*args: Any, **options: Any) -> None:
        with pytest.raises(UsageError, match="another fit is at work"):
            take.fit(clip, tmp_path / "p")
        raise KilledError

    clip = make_clip(tmp_path / "in.mkv", size=(64, 48), codec="ffv1")
    fitting = take.fit_frames
    monkeypatch.setattr(take, "fit_frames", inside)
    with pytest.raises(KilledError):
        take.fit(clip, tmp_path / "p")
    monkeypatch.setattr(take, "fit_frames", fitting)
    assert len(take.fit(clip, tmp_path / "p")) == 12
