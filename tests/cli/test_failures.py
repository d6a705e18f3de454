"""What a user can cause is no bug in unblur: it has another exit code, and a remedy."""

from __future__ import annotations

import errno
import json
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from unblur import weights
from unblur.cli import main
from unblur.cli.failures import INTERNAL, RESOURCE, USAGE, explain
from unblur.disk import recover
from unblur.errors import UnblurError, UsageError, WeightsError
from unblur.models.aligned import AlignedConfig
from unblur.schema import MismatchError, changed
from unblur.training import checkpoint
from unblur.training.pool import KEPT, read, write
from unblur.weights.switches import read_switches


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OSError(errno.ENAMETOOLONG, "", "x" * 300), USAGE),
        (PermissionError(errno.EACCES, "", "/root"), USAGE),
        (NotADirectoryError(errno.ENOTDIR, "", "a/b"), USAGE),
        (OSError(errno.EIO, "", "a"), RESOURCE),
        (OSError(errno.EMFILE, "", "a"), RESOURCE),
        (OSError(errno.ENOMEM, ""), RESOURCE),
        (OSError(errno.ENOSPC, "", "a"), RESOURCE),
        (ValueError("embedded null byte"), USAGE),
        (ValueError("Overflow when unpacking long long"), USAGE),
        (MemoryError(), RESOURCE),
        (RuntimeError("can't start new thread"), RESOURCE),
        (RuntimeError("std::bad_alloc"), RESOURCE),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), RESOURCE),
        (ImportError("x.so: failed to map segment from shared object"), RESOURCE),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), INTERNAL),
        (OSError(errno.EINVAL, ""), INTERNAL),
    ],
)
def test_codes_say_whose_fault_it_is(error: BaseException, code: int) -> None:
    found, message = explain(error, [])
    assert found == code
    assert "\n" not in message
    assert ("bug in unblur" in message) == (code == INTERNAL)


def raw(path: Path, head: object, body: bytes = b"") -> Path:
    text = json.dumps(head).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)
    return path


def test_heads_of_weights_that_are_none(tmp_path: Path) -> None:
    number = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
    for said in ("[" * 5000, "[1]", "{", '{"a": NaN'):
        path = raw(
            tmp_path / "a.safetensors", {"__metadata__": {"switches": said}, "x": number}, bytes(4)
        )
        with pytest.raises(WeightsError, match="head is damaged"):
            read_switches(path)
    for kind, size in (("F6_E2M3", 3), ("F99", 4), ("F32", 99)):
        about = {**number, "dtype": kind, "data_offsets": [0, size]}
        path = raw(tmp_path / "b.safetensors", {"x": about}, bytes(4))
        with pytest.raises(WeightsError):
            weights.load(path)


def test_a_home_that_is_nowhere_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNBLUR_HOME", "~no-such-user-here/x")
    with pytest.raises(UsageError, match="UNBLUR_HOME"):
        weights.home()


def test_options_are_checked_by_the_types_of_a_network() -> None:
    config = AlignedConfig()
    for options, message in (
        ({"nothing": 1}, "options has no nothing: there are"),
        ({"neighbours": "x"}, "options.neighbours must be a whole number, not 'x'"),
    ):
        with pytest.raises(MismatchError, match=message):
            changed(config, options, "options")
    assert changed(config, {"neighbours": 1}, "options").neighbours == 1


def test_states_of_runs_that_are_damaged_are_said(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    checkpoint.save(folder, {"x": torch.zeros(3)}, {"step": 1})
    index = json.loads((folder / checkpoint.INDEX).read_text())
    for change in (
        {"shards": "1"},
        {"shards": 10**9},
        {"shapes": {"x": [-1, "a"]}},
        {"shapes": {"y": [3]}},
        {"facts": [1]},
        {"shapes": None},
    ):
        (folder / checkpoint.INDEX).write_text(json.dumps({**index, **change}))
        with pytest.raises(WeightsError, match="damaged"):
            checkpoint.load(folder)
    for text in ("", "[" * 100_000, "[]", "null", '"x"'):
        (folder / checkpoint.INDEX).write_text(text)
        with pytest.raises(WeightsError, match="damaged"):
            checkpoint.load(folder)


def test_damaged_clips_of_a_pool_are_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "000000.safetensors"
    assert read(path, KEPT) is None
    for content in (b"", b"hello", b"\xff" * 100):
        path.write_bytes(content)
        assert read(path, KEPT) is None
    save_file({"blurred": torch.zeros(1)}, path)
    assert read(path, KEPT) is None
    write(path, {name: torch.zeros(1) for name in KEPT})
    assert set(read(path, KEPT) or ()) == set(KEPT)
    whole = path.read_bytes()
    path.with_name("000001.safetensors").write_bytes(whole)
    assert read(path.with_name("000001.safetensors"), KEPT) is None, "the clip of another number"
    path.write_bytes(whole[:-1] + b"?")
    assert read(path, KEPT) is None, "a byte is another"
    save_file({name: torch.zeros(1) for name in KEPT}, path)
    assert set(read(path, KEPT) or ()) == set(KEPT), "of a version that kept no check sums"


def test_names_that_are_too_long_are_no_cut_off_runs(tmp_path: Path) -> None:
    try:
        assert not recover(tmp_path / ("x" * 300))
    except UnblurError:
        pytest.fail("there is nothing to complete")


def test_a_wrong_word_is_answered_in_plain_words(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["a.mp4", "b.mp4", "--quality", "fats"]) == USAGE
    said = capsys.readouterr().err
    assert "Invalid value for '--quality': 'fats' is not one of 'auto', 'fast', 'best'" in said
