"""Building a bank from photographs."""

from __future__ import annotations

import itertools
from pathlib import Path

import cv2
import numpy as np
import pytest

from unblur.data.texture_bank import build_texture_bank, starts
from unblur.errors import MediaError, UnblurWarning, UsageError
from unblur.synth import TextureBank
from unblur.synth.leaves import leaves
from unblur.synth.textures import detail

PHOTO = "https://example.org/photo"


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A photograph half of which is sky, one that is held out, and a table."""
    folder = tmp_path_factory.mktemp("photos")
    image = np.tile(leaves(1, 256), (4, 4, 1))
    image[:, :512] = (200, 160, 90)
    cv2.imwrite(str(folder / "meadow.png"), image)
    cv2.imwrite(str(folder / "life_by_Aitzol_Berasategi.png"), image)
    (folder / "sources.csv").write_text(
        f"name,photo,author,licence,url\nmeadow.png,Meadow,A. Person,CC0-1.0,{PHOTO}\n"
    )
    return folder


def test_tiles_are_sharp_and_keep_their_licence(photos: Path, tmp_path: Path) -> None:
    build_texture_bank(photos, tmp_path / "bank", count=3, size=256, leaves=2, seed=5)
    bank = TextureBank.load(tmp_path / "bank")
    cut = [s for s in bank.sources if s.photo == "Meadow"]
    assert 1 <= len(cut) <= 3
    assert all((s.author, s.licence, s.url) == ("A. Person", "CC0-1.0", PHOTO) for s in cut)
    assert len(bank) == len(cut) + 2
    for image, source in zip(bank.images, bank.sources, strict=True):
        if source in cut:
            tile = image.permute(1, 2, 0).numpy()
            assert detail(tile).gradient > 6
            assert np.abs(tile.astype(int) - (90, 160, 200)).mean() > 10  # not the sky


def test_unknown_licences_are_said(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    cv2.imwrite(str(folder / "a.png"), cv2.resize(leaves(1, 128), (1024, 1024)))
    with pytest.warns(UnblurWarning, match="no licence is known for 1 of 1"):
        build_texture_bank(folder, tmp_path / "out", count=1, size=128, leaves=1)


def test_leaves_alone(tmp_path: Path) -> None:
    told = []
    note = lambda *numbers: told.append(numbers)  # noqa: E731
    build_texture_bank(None, tmp_path / "bank", size=96, leaves=2, progress=note)
    assert told == [(1, 2), (2, 2)]
    assert {s.author for s in TextureBank.load(tmp_path / "bank").sources} == {"The unblur authors"}


def test_nothing_is_overwritten(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="exists"):
        build_texture_bank(photos, tmp_path, count=1)
    with pytest.raises(MediaError, match="nowhere"):
        build_texture_bank(tmp_path / "nowhere", tmp_path / "bank")
    with pytest.raises(UsageError, match="nothing"):
        build_texture_bank(None, tmp_path / "bank", leaves=0)
    assert not (tmp_path / "bank").exists()


@pytest.mark.parametrize(("length", "size"), [(100, 100), (185, 100), (186, 100), (1000, 448)])
def test_tiles_cover_the_photograph(length: int, size: int) -> None:
    found = starts(length, size)
    assert found[0] == 0
    assert all(b - a >= 0.85 * size - 1 for a, b in itertools.pairwise(found))
    assert found[-1] + size <= length
    if len(found) > 1:
        assert found[-1] + size == length
