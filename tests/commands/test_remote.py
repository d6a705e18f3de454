"""Videos that a URL names."""

from __future__ import annotations

import sys
from pathlib import Path

import av
import numpy as np
import pytest

import unblur
from unblur.cli import main
from unblur.commands.batch import tasks
from unblur.commands.remote import folder_for
from unblur.errors import MediaError, ResourceError, UsageError

fsspec = pytest.importorskip("fsspec")


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("UNBLUR_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "remote"


@pytest.fixture
def clip(tmp_path):
    path = tmp_path / "in.mp4"
    with av.open(str(path), "w") as file:
        video = file.add_stream("mpeg4", rate=25)
        video.width, video.height, video.pix_fmt = 32, 24, "yuv420p"
        for i in range(5):
            file.mux(video.encode(av.VideoFrame.from_ndarray(np.full((24, 32, 3), 40 * i, "u1"))))
        file.mux(video.encode(None))
    return path


@pytest.fixture
def memory(clip):
    """A store in memory that holds the clip."""
    store = fsspec.filesystem("memory")
    store.rm("/", recursive=True) if store.ls("/") else None
    store.pipe_file("/videos/in.mp4", clip.read_bytes())
    return store


def test_there_and_back(clip, tmp_path, memory, home):
    whole = tmp_path / "whole.mkv"
    unblur.restore(clip, whole, model="none")
    report = unblur.restore("memory://videos/in.mp4", "memory://made/out.mkv", model="none")
    assert report.output == "memory://made/out.mkv"
    assert memory.cat_file("/made/out.mkv") == whole.read_bytes()
    unblur.restore(f"file://{clip}", f"file://{tmp_path}/new/out.mkv", model="none")
    assert (tmp_path / "new" / "out.mkv").read_bytes() == whole.read_bytes()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["out.mkv"]
    unblur.restore("memory://videos/in.mp4", tmp_path / "here.mkv", model="none")
    assert (tmp_path / "here.mkv").read_bytes() == whole.read_bytes()
    assert list(home.iterdir()) == []


def test_what_is_there_is_not_replaced(tmp_path, memory):
    memory.pipe_file("/made/out.mkv", b"mine")
    with pytest.raises(UsageError, match="--overwrite"):
        unblur.restore("memory://videos/in.mp4", "memory://made/out.mkv", model="none")
    assert memory.cat_file("/made/out.mkv") == b"mine"
    given = {"model": "none", "overwrite": True}
    unblur.restore("memory://videos/in.mp4", "memory://made/out.mkv", **given)
    assert memory.cat_file("/made/out.mkv") != b"mine"


def test_an_interrupted_job_goes_on(clip, tmp_path, memory, home, monkeypatch, capfd):
    monkeypatch.setattr("unblur.commands.unfinished.WORTH", 0.0)
    url = "memory://made/out.mkv"
    given = {"model": "maxim-stage1", "tile": 64, "fuse": "off"}

    def stop(now):
        if now.stage == "restore" and now.done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), pytest.warns(match=f"of {url} is kept.* clean '{url}'"):
        unblur.restore("memory://videos/in.mp4", url, progress=stop, **given)
    with pytest.raises(UsageError, match=f"^{url} was begun before.*clean '{url}'"):
        unblur.restore("memory://videos/in.mp4", url, **given)
    said = []
    unblur.restore("memory://videos/in.mp4", url, resume=True, progress=said.append, **given)
    assert min(now.done for now in said if now.stage == "restore") > 0
    unblur.restore(clip, tmp_path / "whole.mkv", **given)
    assert memory.cat_file("/made/out.mkv") == (tmp_path / "whole.mkv").read_bytes()
    assert list(home.iterdir()) == []
    given |= {"overwrite": True}
    with pytest.raises(KeyboardInterrupt), pytest.warns(match="--resume"):
        unblur.restore("memory://videos/in.mp4", url, progress=stop, **given)
    assert folder_for(url).is_dir()
    assert main(["clean", url]) == 0
    assert "removed" in capfd.readouterr().out
    assert list(home.iterdir()) == []


def test_what_could_not_be_sent_is_kept(memory, monkeypatch):
    def refuse(*given):
        raise PermissionError("not yours")

    monkeypatch.setattr(type(memory), "put_file", refuse)
    with pytest.raises(ResourceError, match=r"not yours.*the restored video is (\S+)") as refused:
        unblur.restore("memory://videos/in.mp4", "memory://made/out.mkv", model="none")
    assert Path(str(refused.value).rpartition(" ")[2]).is_file()
    with pytest.raises(UsageError, match="unblur clean"):
        unblur.restore("memory://videos/in.mp4", "memory://made/out.mkv", model="none")


@pytest.mark.parametrize(
    ("source", "error", "said"),
    [
        ("memory://videos/none.mp4", MediaError, "no such file"),
        ("memory://videos", UsageError, "name a file"),
        ("nowhere://videos/in.mp4", UsageError, "copy the file here"),
    ],
)
def test_what_cannot_be_had(tmp_path, memory, home, source, error, said):
    with pytest.raises(error, match=said):
        unblur.restore(source, tmp_path / "out.mkv", model="none")
    assert not home.exists() or list(home.iterdir()) == []


def test_a_package_that_is_missing_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(ResourceError, match=r"pip install 'unblur\[remote\]'"):
        unblur.restore("s3://videos/in.mp4", tmp_path / "out.mkv", model="none")
    with pytest.raises(UsageError, match="names one video"):
        unblur.restore(tmp_path / "in.mp4", "memory://made", model="none")
    with pytest.raises(UsageError, match="one by one"):
        tasks(["s3://videos/in.mp4"], tmp_path)


def made_but_not_sent(source, url, memory, monkeypatch):
    """A job whose result could not be sent."""

    def refuse(*given):
        raise PermissionError("not yours")

    with monkeypatch.context() as patch:
        patch.setattr(type(memory), "put_file", refuse)
        with pytest.raises(ResourceError, match="not yours"):
            unblur.restore(source, url, model="none")


def test_the_same_line_sends_what_could_not_be_sent(clip, tmp_path, memory, home, monkeypatch):
    source, url = "memory://videos/in.mp4", "memory://made/out.mkv"
    made_but_not_sent(source, url, memory, monkeypatch)
    with pytest.raises(UsageError, match="send it, then"):
        unblur.restore(source, url, model="none", codec="ffv1", resume=True)  # another job
    with pytest.raises(UsageError, match="add --resume to send it"):
        unblur.restore(source, url, model="none")
    assert unblur.restore(source, url, model="none", resume=True).skipped
    unblur.restore(clip, tmp_path / "whole.mkv", model="none")
    assert memory.cat_file("/made/out.mkv") == (tmp_path / "whole.mkv").read_bytes()
    assert list(home.iterdir()) == []
    assert unblur.restore(source, url, model="none", resume=True).skipped  # and is there now


def test_a_result_that_is_not_what_was_made_is_not_sent(memory, home, monkeypatch):
    source, url = "memory://videos/in.mp4", "memory://made/out.mkv"
    made_but_not_sent(source, url, memory, monkeypatch)
    made = folder_for(url) / "out.mkv"
    made.write_bytes(made.read_bytes()[:-1] + b"?")
    with pytest.raises(UsageError, match="unblur clean"):
        unblur.restore(source, url, model="none", resume=True)
    assert not memory.exists("/made/out.mkv")


def test_an_input_that_changed_since_it_was_brought_comes_again(
    memory, home, tmp_path, monkeypatch
):
    source, url = "memory://videos/in.mp4", "memory://made/out.mkv"
    made_but_not_sent(source, url, memory, monkeypatch)
    near = folder_for(url) / "in" / "in.mp4"
    whole = near.read_bytes()
    near.write_bytes(whole[: len(whole) // 2])
    (folder_for(url) / "in" / "from.json").write_bytes(b"\xff" * 9)
    (folder_for(url) / "out.mkv").unlink()
    assert unblur.restore(source, url, model="none", resume=True).frames == 5


def test_two_jobs_on_one_url(clip, memory, home):
    url, met = "memory://made/out.mkv", []

    def second(now):
        if not met:
            with pytest.raises(UsageError, match="another job") as refused:
                unblur.restore("memory://videos/in.mp4", url, model="none")
            met.append(refused)
            assert main(["clean", url]) == 0
            assert list(home.iterdir())

    unblur.restore("memory://videos/in.mp4", url, model="none", progress=second)
    assert met
    assert memory.exists("/made/out.mkv")


def test_the_input_is_never_replaced_whichever_way_it_is_written(clip, memory):
    before = clip.read_bytes()
    same = [("memory://videos/in.mp4", "memory:///videos/in.mp4"), (f"file://{clip}",) * 2]
    for source, out in [*same, (str(clip), f"file://{clip}"), (f"file://{clip}", str(clip))]:
        for resume in (False, True):
            given = {"model": "none", "overwrite": not resume, "resume": resume}
            with pytest.raises(UsageError, match="is the input itself"):
                unblur.restore(source, out, **given)
    assert memory.cat_file("/videos/in.mp4") == clip.read_bytes() == before


def test_a_preview_of_a_url(memory, tmp_path):
    for name in ("one.png", "two.mp4"):
        out = tmp_path / name
        unblur.restore("memory://videos/in.mp4", out, model="none", preview=True)
        assert out.stat().st_size
