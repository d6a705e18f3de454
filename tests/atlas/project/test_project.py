"""The project folder: what goes in comes out, and what is damaged is reported."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import unblur
from tests.atlas import analytic
from unblur.atlas.project.maps import Cache, decode, encode
from unblur.atlas.project.store import dilate
from unblur.errors import MediaError, NumericsError, UsageError


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("projects") / "clip"
    analytic.project(frames=3).save(folder)
    return folder


@pytest.fixture
def own(saved: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    import shutil

    return Path(shutil.copytree(saved, tmp_path / "clip"))


def test_what_is_saved_is_read_again(saved: Path) -> None:
    made, read = analytic.project(frames=3), unblur.atlas.open(saved)
    assert [layer.name for layer in read.layers] == ["foreground", "background"]
    assert (len(read), read.size, read.rate) == (3, (analytic.H, analytic.W), Fraction(24))
    assert read.times == made.times
    assert (read.beta, read.light, read.transfer, read.folder) == (None, "linear", None, saved)
    assert (read.frames[:] - made.frames).abs().max() <= 0.5001 / 255
    for before, after in zip(made.layers, read.layers, strict=True):
        assert (after.texture - before.texture).abs().max() <= 0.5001 / 255
        assert torch.equal(after.seen, before.seen)
        assert (after.uv[:] - before.uv).abs().max() < 0.0041
        assert (after.alpha[:] - before.alpha).abs().max() < 1e-5
        assert before.radius is not None
        assert after.radius is not None
        assert (after.radius[:] - before.radius).abs().max() < 0.002
    assert (read.render() - made.render()).abs().max() < 0.01


def test_a_second_save_changes_nothing(saved: Path, tmp_path: Path) -> None:
    again = unblur.atlas.open(saved).save(tmp_path / "again")
    for before, after in zip(unblur.atlas.open(saved).layers, again.layers, strict=True):
        assert torch.equal(before.uv[:], after.uv[:])
        assert torch.equal(before.texture, after.texture)
        assert torch.equal(before.alpha[:], after.alpha[:])


@settings(max_examples=30, deadline=None)
@given(st.floats(-30_000, 30_000), st.floats(0.01, 3))
def test_places_are_kept_wherever_they_lie(start: float, step: float) -> None:
    uv = start + step * analytic.grid(5, 7)
    found = decode(encode(uv, "uv"), "uv", Path("x"))
    # Half a step of 1/128, and what float32 holds of a number this large.
    assert (found.double() - uv).abs().max() <= 1 / 256 + abs(start) * 1e-7 + 1e-6


def test_maps_are_read_as_they_are_needed(own: Path) -> None:
    project = unblur.atlas.open(own)
    uv = project.layers[0].uv
    first = uv[0]
    (own / "maps" / "foreground" / "uv" / "00001.png").write_bytes(b"no image")
    assert torch.equal(uv[0], first)
    assert uv[2].shape == (2, analytic.H, analytic.W)
    assert uv[[0, 2]].shape == (2, 2, analytic.H, analytic.W)
    assert torch.equal(uv[-1], uv[2])
    with pytest.raises(MediaError, match=r"00001\.png is damaged"):
        uv[1]
    with pytest.raises(IndexError):
        uv[3]


def test_the_cache_keeps_to_its_size() -> None:
    cache = Cache(8 * 10)
    for number in range(5):
        cache.put(Path(str(number)), torch.zeros(5))  # 20 bytes
    assert [cache.get(Path(str(n))) is not None for n in range(5)] == [False] + [True] * 4
    cache.put(Path("large"), torch.zeros(100))
    assert cache.get(Path("large")) is None


def test_sixteen_bits_keep_more(tmp_path: Path) -> None:
    made = analytic.project(None, frames=1)
    read = made.save(tmp_path / "deep", bits=16)
    assert (read.layers[1].texture - made.layers[1].texture).abs().max() < 1e-5
    assert read.layers[1].radius is None


def test_unseen_parts_take_the_colours_around() -> None:
    texture = torch.zeros(3, 20, 30)
    texture[:, 5:15, 5:15] = 0.7
    seen = (texture[:1] > 0).float()
    filled = dilate(texture, seen)
    assert torch.allclose(filled, torch.full_like(filled, 0.7), atol=1e-5)
    texture[0, 5:15, 5:15] = torch.rand(10, 10)
    assert torch.equal(dilate(texture, seen)[:, 5:15, 5:15], texture[:, 5:15, 5:15])


def test_what_others_keep_in_the_folder_stays(tmp_path: Path) -> None:
    folder = tmp_path / "clip"
    (folder / "fit").mkdir(parents=True)
    (folder / "fit" / "state").write_text("mine")
    made = analytic.project(frames=2)
    made.save(folder)
    with pytest.raises(UsageError, match="already"):
        made.save(folder)
    short = analytic.project(frames=1)
    assert len(short.save(folder, overwrite=True)) == 1
    assert (folder / "fit" / "state").read_text() == "mine"
    assert not (folder / "frames" / "00001.png").exists()
    assert not list(tmp_path.glob(".*"))


def test_the_folder_one_is_in_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert analytic.project(frames=1).save(".").folder == tmp_path


def test_nothing_foreign_is_written_over(tmp_path: Path) -> None:
    made = analytic.project(frames=1)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "holiday.jpg").write_text("x")
    with pytest.raises(UsageError, match="other files"):
        made.save(tmp_path / "photos", overwrite=True)
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match="is a file"):
        made.save(tmp_path / "file")
    with pytest.raises(UsageError, match="cannot write"):
        made.save(tmp_path / "missing" / "clip")


def test_what_is_not_finite_is_not_saved(tmp_path: Path) -> None:
    made = analytic.project(frames=1)
    spoilt = made.layers[0].uv[:] * torch.nan
    with pytest.raises(NumericsError, match="uv"):
        replace(made, layers=(replace(made.layers[0], uv=spoilt), made.layers[1])).save(
            tmp_path / "clip"
        )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda p: (p / "atlas.json").unlink(), "is no project"),
        (lambda p: (p / "atlas.json").write_text("{"), "damaged"),
        (lambda p: (p / "atlas.json").write_text('{"format": "other"}'), "not of a project"),
        (lambda p: change(p, version=7), "format 7"),
        (lambda p: change(p, frames=4), "damaged"),
        (lambda p: change(p, frames=2), "damaged"),
        (lambda p: change(p, times=["0", "1/0", "x"]), "damaged"),
        (lambda p: change(p, transfer="curve"), "damaged"),
        (lambda p: change(p, layers=[{"name": "../secret"}]), "damaged"),
        (lambda p: change(p, files=[]), "damaged"),
        (lambda p: (p / "atlas_background.png").unlink(), "incomplete"),
        (lambda p: (p / "atlas_background.png").write_bytes(b""), "edited atlases are given"),
        (lambda p: (p / "maps/background/coc/00002.png").unlink(), r"00002\.png is missing"),
    ],
)
def test_damaged_and_foreign_folders_are_told(own: Path, spoil, message: str) -> None:
    spoil(own)
    with pytest.raises(MediaError, match=message):
        unblur.atlas.open(own)


def change(folder: Path, **values: object) -> None:
    head = json.loads((folder / "atlas.json").read_text())
    (folder / "atlas.json").write_text(json.dumps(head | values))


def test_frames_of_another_size_are_told(own: Path) -> None:
    change(own, width=analytic.W + 1)
    with pytest.raises(MediaError, match="damaged"):
        unblur.atlas.open(own).render()


def test_no_folder_at_all(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unblur atlas fit"):
        unblur.atlas.open(tmp_path / "nothing")


def test_layers_and_times_are_found(saved: Path) -> None:
    project = unblur.atlas.open(saved)
    assert project.layer("background").name == "background"
    with pytest.raises(UsageError, match="foreground, background"):
        project.layer("sky")
    assert [project.frame_at(t) for t in ("f2", "0s", "0.05s", 1)] == [2, 0, 2, 1]
    for late in ("f3", "0.1s", 3, "1:00"):
        with pytest.raises(UsageError, match="past the end"):
            project.frame_at(late)


def test_shapes_that_do_not_fit_are_refused() -> None:
    made = analytic.project(frames=2)
    with pytest.raises(ValueError, match="foreground"):
        replace(made, layers=(replace(made.layers[0], alpha=torch.ones(1, 1, 4, 4)),))
    with pytest.raises(ValueError, match="names"):
        replace(made, layers=(made.layers[0], made.layers[0]))
    with pytest.raises(ValueError, match="times"):
        replace(made, times=made.times[:1])
