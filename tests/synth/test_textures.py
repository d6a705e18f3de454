"""The texture bank: what is chosen, what is kept apart, and whose it is."""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from unblur.errors import MediaError, UsageError
from unblur.synth import HELD_OUT_PHOTOS, Source, TextureBank, held_out
from unblur.synth.leaves import leaves, leaves_bank
from unblur.synth.textures import detail, smooth

FREE = {"CC0-1.0", "CC-BY-4.0", "CC-BY-SA-4.0"}
HELD_OUT = Path(held_out.__code__.co_filename).parent / "heldout"


@pytest.fixture(scope="module")
def leaf() -> np.ndarray:
    return leaves(3, 192)


def test_each_held_out_tile_has_an_author_and_a_free_licence() -> None:
    bank = held_out()
    assert len(bank) >= 16
    assert bank.size == 448
    assert {source.name for source in bank.sources} == {p.name for p in HELD_OUT.glob("*.jpg")}
    credits = (HELD_OUT / "SOURCES.md").read_text(encoding="utf-8")
    for source in bank.sources:
        assert source.author
        assert source.licence in FREE
        if not source.name.startswith("leaves"):
            assert source.photo in HELD_OUT_PHOTOS
            assert source.url.startswith("https://")
            assert source.photo in credits
    assert {s.photo for s in bank.sources} >= set(HELD_OUT_PHOTOS)


def test_held_out_tiles_are_detailed() -> None:
    tiles = held_out().images.permute(0, 2, 3, 1).numpy()
    assert all(detail(tile).good for tile in tiles)


def test_nothing_held_out_is_trained_on(tmp_path: Path, leaf: np.ndarray) -> None:
    names = ["stone.png", *(f"lomiri__{photo}_800_0_0.png" for photo in HELD_OUT_PHOTOS)]
    for name in names:
        cv2.imwrite(str(tmp_path / name), leaf)
    assert [s.name for s in TextureBank.load(tmp_path).sources] == ["stone.png"]
    assert len(TextureBank.load(tmp_path, training=False)) == len(names)
    with pytest.raises(UsageError, match="left out"):
        TextureBank.load(HELD_OUT, skip=["leaves"])


def test_the_demo_photographs_are_held_out() -> None:
    credits = (Path(__file__).parents[2] / "THIRD-PARTY.md").read_text(encoding="utf-8")
    shown = [line for line in credits.splitlines() if "lomiri" in line or "16.04/" in line]
    used = [photo for photo in HELD_OUT_PHOTOS if any(photo in line for line in shown)]
    assert {"life_by_Aitzol_Berasategi", "friends_by_Aitzol_Berasategi"} <= set(used)


def test_training_tiles_at_hand_pass_the_rule(shared: Path) -> None:
    bank = TextureBank.load(shared / "data" / "textures", skip=["elementary", "mate-"])
    tiles = bank.images[::8].permute(0, 2, 3, 1).numpy()
    assert all(detail(tile).good for tile in tiles)
    assert not [s for s in bank.sources if any(p in s.name for p in HELD_OUT_PHOTOS)]


def test_detail_sees_what_blur_takes(leaf: np.ndarray) -> None:
    assert detail(leaf).good
    flat = np.full((64, 64, 3), 90, np.uint8)
    assert not detail(flat).good
    soft = np.stack([smooth(leaf[..., c].astype(np.float32), 2.5) for c in range(3)], -1)
    assert detail(soft.astype(np.uint8)).loss < detail(leaf).loss - 0.2
    half = leaf.copy()
    half[:, 72:] = 90
    assert detail(half).coverage < 0.5
    assert not detail(half).good


def test_leaves_are_the_same_for_the_same_seed(leaf: np.ndarray) -> None:
    assert np.array_equal(leaves(3, 192), leaf)
    assert not np.array_equal(leaves(4, 192), leaf)


def test_leaves_come_in_all_sizes(leaf: np.ndarray) -> None:
    luma = leaf.mean(-1)
    # Edges at each scale: detail survives shrinking, as it does in photographs.
    coarse = luma.reshape(24, 8, 24, 8).mean((1, 3))
    assert np.abs(np.diff(coarse)).mean() > 6
    assert np.abs(np.diff(luma)).mean() > 6


def test_leaves_take_colours_of_photographs() -> None:
    red = torch.zeros(2, 3, 64, 64, dtype=torch.uint8)
    red[:, 0] = 200
    bank = leaves_bank(2, 64, 0, TextureBank(red, (Source("a.png"), Source("b.png"))))
    painted = bank.images[1].float().mean((1, 2))
    assert painted[0] > 5 * painted[1]
    assert {s.licence for s in bank.sources} == {"CC0-1.0"}


def test_a_bank_is_the_same_after_saving(tmp_path: Path, leaf: np.ndarray) -> None:
    image = torch.from_numpy(leaf).permute(2, 0, 1)[None]
    source = Source("a.png", 'a "photo"', "A, B", "CC0-1.0", "https://example.org")
    TextureBank(image, (source,)).save(tmp_path / "bank")
    back = TextureBank.load(tmp_path / "bank")
    assert torch.equal(back.images, image.cpu())
    assert back.sources == (source,)
    assert len(back + back) == 2
    assert TextureBank.load(tmp_path / "bank", size=64).images.shape == (1, 3, 64, 64)
    assert not list((tmp_path / "bank").glob("*.part"))


def test_wrong_banks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="nowhere"):
        TextureBank.load(tmp_path / "nowhere")
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    with pytest.raises(MediaError, match=r"broken\.jpg"):
        TextureBank.load(tmp_path)
    with pytest.raises(UsageError, match="uint8"):
        TextureBank(torch.zeros(1, 3, 8, 8), (Source("a.png"),))
    with pytest.raises(UsageError, match="sources"):
        TextureBank(torch.zeros(2, 3, 8, 8, dtype=torch.uint8), (Source("a.png"),))


def test_without_opencv_textures_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("PIL")
    by_opencv = held_out()
    monkeypatch.setitem(sys.modules, "cv2", None)
    by_pillow = held_out()
    difference = (by_opencv.images.float() - by_pillow.images.float()).abs()
    assert difference.mean() < 0.5
    assert difference.max() <= 8
