"""Pieces of a job that are not what it left, and where they were, are not believed."""

from __future__ import annotations

import os
import shutil
from fractions import Fraction

import pytest

import unblur
from tests.commands import test_resume as jobs
from tests.video.media import make_clip
from unblur.commands.unfinished import folder_of
from unblur.errors import MediaError, UsageError

# Every interrupted job says what it keeps, and images what they do not hold.
pytestmark = pytest.mark.filterwarnings("ignore::unblur.errors.UnblurWarning")

TICK = Fraction(1, 25)
clip, whole, killed = jobs.clip, jobs.whole, jobs.killed
small_segments, content, SEGMENT = jobs.small_segments, jobs.content, jobs.SEGMENT


@pytest.fixture
def other(tmp_path):
    """Another clip of the same kind."""
    path = tmp_path / "other.mkv"
    return make_clip(path, size=(64, 32), codec="mpeg4", pts=26, noise=9, time_base=TICK)


@pytest.mark.parametrize("name", ["00000.packets", "00001.packets", "00002.frames", "all"])
def test_pieces_of_another_job(clip, whole, other, tmp_path, killed, name):
    out, theirs = tmp_path / "out.mkv", tmp_path / "theirs.mkv"
    killed(clip, out, 23, model="mixing")
    killed(other, theirs, 23, model="mixing")
    own, foreign = folder_of(out), folder_of(theirs)
    for piece in foreign.iterdir():
        if piece.name == name or (name == "all" and piece.suffix in (".packets", ".frames")):
            shutil.copyfile(piece, own / piece.name)
    unblur.restore(clip, out, model="mixing", resume=True)
    assert content(out) == content(whole)


def test_pieces_in_each_others_places(clip, whole, tmp_path, killed):
    out = tmp_path / "out.mkv"
    killed(clip, out, 23, model="mixing")
    first, second = (folder_of(out) / f"0000{n}.packets" for n in (0, 1))
    both = first.read_bytes(), second.read_bytes()
    second.write_bytes(both[0])
    first.write_bytes(both[1])
    unblur.restore(clip, out, model="mixing", resume=True)
    assert content(out) == content(whole)


@pytest.mark.parametrize("what", ["of another job", "changed", "swapped", "first gone", "no sums"])
def test_images_that_are_others(clip, other, tmp_path, killed, what):
    options = {"model": "mixing", "codec": "png"}
    unblur.restore(clip, tmp_path / "whole", **options)
    out, theirs = tmp_path / "out", tmp_path / "theirs"
    killed(clip, out, 12, **options)
    killed(other, theirs, 12, **options)
    images, foreign = folder_of(out) / "images", folder_of(theirs) / "images"
    first, second = images / "00001.png", images / "00002.png"
    if what == "of another job":
        shutil.copyfile(foreign / second.name, second)
    elif what == "changed":
        second.write_bytes(second.read_bytes()[:-30])
    elif what == "swapped":
        both = first.read_bytes(), second.read_bytes()
        second.write_bytes(both[0])
        first.write_bytes(both[1])
    elif what == "first gone":
        first.unlink()
    else:
        (images.parent / "images.sums").unlink()
    unblur.restore(clip, out, resume=True, **options)
    assert content(out) == content(tmp_path / "whole")


@pytest.mark.skipif(os.name == "nt", reason="names of POSIX")
@pytest.mark.parametrize("name", ["00001.frames", "result", "00000.packets", "images.sums"])
def test_a_piece_that_has_another_name_elsewhere(clip, whole, tmp_path, killed, name):
    """As a backup by hard links has it: that stays as it is."""
    out, mine = tmp_path / "out.mkv", tmp_path / "mine"
    killed(clip, out, 17, model="mixing")
    piece = folder_of(out) / name
    if not piece.exists():
        piece.write_bytes(b"mine" * 1000)
    os.link(piece, mine)
    before = mine.read_bytes()
    unblur.restore(clip, out, model="mixing", resume=True)
    assert content(out) == content(whole)
    assert mine.read_bytes() == before


@pytest.mark.skipif(os.name == "nt", reason="names of POSIX")
def test_a_lock_that_has_another_name_is_no_lock(clip, tmp_path):
    mine = tmp_path / "mine"
    mine.write_text("my only copy")
    folder_of(tmp_path / "out.mkv").mkdir()
    os.link(mine, folder_of(tmp_path / "out.mkv") / "lock")
    with pytest.raises(UsageError, match="remove it, or choose another name"):
        unblur.restore(clip, tmp_path / "out.mkv", model="none")
    assert mine.read_text() == "my only copy"


def test_folders_among_the_pieces(clip, whole, tmp_path, killed):
    out = tmp_path / "out.mkv"
    killed(clip, out, 17, model="mixing")
    for name in ("00000.packets", "00009.frames", ".hidden"):
        path = folder_of(out) / name
        path.unlink(missing_ok=True)
        path.mkdir()
    unblur.restore(clip, out, model="mixing", resume=True)
    assert content(out) == content(whole)


def test_an_input_that_is_replaced_while_it_is_opened(clip, other, tmp_path, monkeypatch):
    """Frames would be of one file, cuts and sound of another."""
    from unblur.commands import restore_file

    created = restore_file.created

    def replaced(order, reader, work):
        shutil.copyfile(other, tmp_path / "new")
        os.replace(tmp_path / "new", clip)
        return created(order, reader, work)

    monkeypatch.setattr(restore_file, "created", replaced)
    with pytest.raises(MediaError, match="replaced while it was read"):
        unblur.restore(clip, tmp_path / "out.mkv", model="none")
    assert not (tmp_path / "out.mkv").exists()


def test_images_that_are_replaced_while_they_are_read(clip, tmp_path, monkeypatch):
    from unblur.commands import restore_file

    unblur.restore(clip, tmp_path / "in", model="none", codec="png")
    write, done = restore_file.write, []

    def replacing(writer, preview, item):
        write(writer, preview, item)
        if not done:
            image = tmp_path / "in" / "00020.png"
            image.write_bytes((tmp_path / "in" / "00001.png").read_bytes())
            os.utime(image, (1, 1))
            done.append(True)

    monkeypatch.setattr(restore_file, "write", replacing)
    with pytest.raises(MediaError, match=r"replaced while it was read \(00020.png\)"):
        unblur.restore(tmp_path / "in", tmp_path / "out.mkv", model="none")
    assert not (tmp_path / "out.mkv").exists()
