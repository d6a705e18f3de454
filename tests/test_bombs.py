"""Small files that claim or inflate to more than any machine holds are refused at once."""

from __future__ import annotations

import os
import pickle
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path

import av
import pytest
import torch
from safetensors.torch import save_file

import unblur
from tests.video.media import make_clip
from unblur.disk import read_bytes
from unblur.errors import MediaError, ResourceError, UnblurError, UsageError, WeightsError
from unblur.models.convert import convert_file, maxim
from unblur.ops.memory import resident
from unblur.video import open_video
from unblur.video.images import read_image
from unblur.video.png import SIGNATURE
from unblur.weights import MOST_TENSORS, difference, load

MB = 1 << 20


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(side: int, extra: bytes = b"", rows: bytes | None = None) -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    rows = bytes(side * (3 * side + 1)) if rows is None else rows
    data = chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return SIGNATURE + head + extra + data


def inflating(size: int) -> bytes:
    """Bytes that decompress to `size` of them."""
    packer = zlib.compressobj(9)
    block = bytes(MB)
    return b"".join(packer.compress(block) for _ in range(size // MB)) + packer.flush()


BOMB = inflating(64 * MB)
PROFILES = {
    "iCCP": chunk(b"iCCP", b"c\0\0" + BOMB),
    "zTXt": chunk(b"zTXt", b"key\0\0" + BOMB),
    "iTXt": chunk(b"iTXt", b"key\0\1\0en\0name\0" + BOMB),
}


@pytest.mark.parametrize("kind", PROFILES)
def test_profiles_and_texts_of_png_are_bounded(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png(16, PROFILES[kind]))
    before = resident()
    with pytest.raises(MediaError, match="larger than 16 MB"):
        read_image(path, MB)
    with pytest.raises(MediaError, match="larger than 16 MB"):
        unblur.probe(path)
    (tmp_path / "a.mkv").write_bytes(path.read_bytes())
    with pytest.raises(MediaError, match="larger than 16 MB"):
        unblur.probe(tmp_path / "a.mkv")
    assert resident() - before < 48 * MB
    small = chunk(b"iCCP", b"c\0\0" + zlib.compress(b"profile")) + chunk(b"tEXt", b"a\0b")
    path.write_bytes(png(16, small + chunk(b"iTXt", b"k\0\0\0\0\0text")))
    assert read_image(path, MB).image.width == 16


def test_png_in_a_container_is_bounded_too(tmp_path: Path) -> None:
    path = tmp_path / "a.mov"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("png", rate=25)
        stream.width = stream.height = 16
        stream.pix_fmt = "rgb24"
        out.mux(stream.encode(av.VideoFrame(16, 16, "rgb24")))
        packet = av.Packet(png(16, PROFILES["iCCP"]))
        packet.stream, packet.pts, packet.dts = stream, 1, 1
        packet.time_base = stream.time_base
        out.mux(packet)
    with pytest.raises(MediaError, match="larger than 16 MB"), open_video(path) as reader:
        list(reader)


def test_a_chain_of_bases_ends(tmp_path: Path) -> None:
    """A weights file may name one that ships, by name, and nothing else."""
    path = tmp_path / "self.safetensors"
    for base in (str(path)[: -len(".safetensors")], "../self", "a/b", "", ".", "x\0y"):
        save_file({"x": torch.zeros(2)}, path, {"name": "motion-s", "base": base})
        with pytest.raises(WeightsError, match="no name of weights"):
            difference.load_whole(path, lambda state: state)
    save_file({"x": torch.zeros(2)}, path, {"name": "motion-s", "base": "no-such-weights"})
    with pytest.raises(WeightsError, match="not found"):
        difference.load_whole(path, lambda state: state)


def test_bases_that_ship_are_followed_a_few_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(difference, "PACKAGE_FOLDER", tmp_path)
    path = tmp_path / "loop.safetensors"
    save_file({"x": torch.zeros(2)}, path, {"base": "loop"})
    with pytest.raises(WeightsError, match="without an end"):
        difference.load_whole(path, lambda state: state)


@pytest.mark.parametrize(
    "kind", ["bool", "complex64", "float8_e4m3fn", "float8_e5m2", "uint16", "float4_e2m1fn_x2"]
)
def test_kinds_of_numbers_that_no_network_has(tmp_path: Path, kind: str) -> None:
    dtype = getattr(torch, kind, None)
    if dtype is None:
        pytest.skip("unknown to this torch")
    path = tmp_path / "a.safetensors"
    try:
        save_file({"x": torch.zeros(4, dtype=torch.uint8).view(dtype)}, path)
    except (KeyError, RuntimeError, TypeError):
        pytest.skip("unknown to this safetensors")
    with pytest.raises(WeightsError):
        load(path)


def test_archives_that_inflate_are_no_checkpoints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNBLUR_HOME", str(tmp_path))
    path = tmp_path / "a.pth"
    torch.save({"x": torch.zeros(MB)}, path)
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(tmp_path / "b.pth", "w", 8) as packed:
        for entry in archive.infolist():
            packed.writestr(entry.filename, archive.read(entry))
    with pytest.raises(WeightsError, match="inflates"):
        convert_file(tmp_path / "b.pth")
    torch.save({"x": torch.zeros(1).expand(1 << 40)}, path)
    with pytest.raises(WeightsError, match="more numbers than it holds"):
        convert_file(path)
    torch.save({"x": torch.zeros(3).to_sparse()}, path)
    with pytest.raises(WeightsError):
        convert_file(path)


def test_the_package_of_maxim_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also in the names of its members, which tar reads before it says how many there are."""
    monkeypatch.setattr(maxim, "LARGEST_PACKAGE", 8 * MB)
    path = tmp_path / "a.tgz"
    with tarfile.open(path, "w:gz", format=tarfile.PAX_FORMAT) as tar:
        member = tarfile.TarInfo("a")
        member.pax_headers = {"comment": "x" * (32 * MB)}
        tar.addfile(member)
    before = resident()
    with pytest.raises(WeightsError):
        convert_file(path)
    assert resident() - before < 64 * MB


def test_pipes_and_devices_are_not_read(tmp_path: Path) -> None:
    if os.name == "nt":
        pytest.skip("pipes of POSIX")
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/zero", tmp_path, tmp_path / "none", "a\0b", "x" * 999):
        with pytest.raises(MediaError):
            read_bytes(path, 100)
    (tmp_path / "large").write_bytes(bytes(101))
    with pytest.raises(ResourceError):
        read_bytes(tmp_path / "large", 100)
    assert len(read_bytes(tmp_path / "large", 101)) == 101


class Attack:
    """A pickle that would make a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> object:
        return Path.touch, (self.path,)


def test_no_pickle_is_run(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    (tmp_path / "a.pth").write_bytes(pickle.dumps(Attack(mark)))
    torch.save({"x": Attack(mark)}, tmp_path / "b.pth")
    for name in ("a.pth", "b.pth"):
        with pytest.raises((WeightsError, UsageError)):
            convert_file(tmp_path / name)
    assert not mark.exists()


def test_weights_that_never_end_are_refused_before_they_are_read(tmp_path: Path) -> None:
    """A job is known again by the content of its weights, which is looked at first."""
    os.mkfifo(tmp_path / "pipe")
    clip = make_clip(tmp_path / "in.mkv", codec="ffv1")
    for weights in (tmp_path / "pipe", tmp_path, "/dev/zero"):
        with pytest.raises(UnblurError) as said:
            unblur.restore(clip, tmp_path / "out.mkv", model="motion-s", weights=weights)
        assert said.value.exit_code in (2, 3)


def test_weights_with_too_many_tensors(tmp_path: Path) -> None:
    path = tmp_path / "many.safetensors"
    save_file({str(n): torch.zeros(0) for n in range(MOST_TENSORS + 1)}, path)
    with pytest.raises(WeightsError, match="20,001 tensors, more than any network"):
        load(path)
