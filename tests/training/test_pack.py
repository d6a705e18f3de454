"""Clips carried along in one small file."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from unblur.errors import UsageError, WeightsError
from unblur.training import pack
from unblur.training.batches import Batch
from unblur.training.guiding import guided
from unblur.training.pack import Pack, packed, unpacked, write_pack

CPU = torch.device("cpu")


def clip(seed: int, side: int = 32) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(256, (2, 1, 5, 3, side, side), generator=generator) / 255
    flows = torch.randn(2, 1, 4, 2, side // 4, side // 4, generator=generator).half().float()
    radius = torch.randint(80, (1, 5, 1, side, side), generator=generator) / 8
    return Batch(images[0], images[1], flows[0], flows[1], radius)


def test_a_clip_comes_back_as_it_was() -> None:
    before = clip(0)
    after = unpacked(packed(before))
    for field in dataclasses.fields(Batch):
        here, there = getattr(before, field.name), getattr(after, field.name)
        assert (here is None) == (there is None), field.name
        if here is not None:
            torch.testing.assert_close(here.cpu(), there, rtol=0, atol=1e-6)


def test_a_pack_holds_no_more_bytes_than_allowed(tmp_path: Path) -> None:
    count, size = write_pack(tmp_path / "pack", map(clip, range(100)), [clip(1)], 200_000)
    assert 1 < count < 100
    assert size == (tmp_path / "pack").stat().st_size <= 200_000
    batch = Pack(tmp_path / "pack", 16).batch(3, 7)
    assert batch.blurred.shape == (3, 5, 3, 16, 16)
    assert batch.flow_forward is not None
    assert batch.flow_forward.shape == (3, 4, 2, 4, 4)
    again = Pack(tmp_path / "pack", 16).batch(3, 7)
    assert torch.equal(batch.blurred, again.blurred)


def test_validation_is_on_the_flow_that_was_found_where_the_pack_was_made(tmp_path: Path) -> None:
    flows = clip(2).flow_forward
    held_out = dataclasses.replace(
        clip(1), flow_forward=None, flow_backward=None, guess_forward=flows, guess_backward=flows
    )
    write_pack(tmp_path / "pack", [clip(0)], [held_out], 10**6)
    (found,) = Pack(tmp_path / "pack", 16).held_out(flows.device)
    shown = guided(found, "truth", None)
    assert torch.equal(shown.flow_forward, flows)


def test_what_is_no_pack_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no pack")
    with pytest.raises(WeightsError, match="is no pack of clips"):
        Pack(tmp_path / "text", 16)
    with pytest.raises(WeightsError, match="is no pack of clips"):
        Pack(tmp_path / "nothing", 16)
    with pytest.raises(UsageError, match="no clip fits"):
        write_pack(tmp_path / "pack", [clip(0)], [], 100)
    write_pack(tmp_path / "pack", [clip(0)], [], 10**6)
    with pytest.raises(UsageError, match="smaller crop"):
        Pack(tmp_path / "pack", 64)


def test_an_entry_that_grows_past_a_clip_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_pack(tmp_path / "pack", [clip(0)], [], 10**6)
    monkeypatch.setattr(pack, "LARGEST", (tmp_path / "pack").stat().st_size + 10)
    with pytest.raises(WeightsError, match="larger than a clip"):
        Pack(tmp_path / "pack", 16)
