"""Many files at once: which, under which names, and that one bad apple spoils nothing."""

from __future__ import annotations

import json
from fractions import Fraction

import av
import numpy as np
import pytest

from unblur.cli import main
from unblur.commands.batch import tasks
from unblur.errors import UsageError


def make_clip(path, frames=3):
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as file:
        stream = file.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 32, 24, "yuv420p"
        for i in range(frames):
            frame = av.VideoFrame.from_ndarray(np.full((24, 32, 3), 20 * i, np.uint8))
            frame.pts, frame.time_base = i, Fraction(1, 25)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return path


@pytest.fixture
def clips(tmp_path):
    """A folder with videos, one of them broken, and other files."""
    folder = tmp_path / "clips"
    for name in ("a.mp4", "b.avi", "more/a.mp4", "more/.hidden.mp4"):
        make_clip(folder / name)
    (folder / "bad.mov").write_bytes(b"no video")
    (folder / "notes.txt").write_text("not a video")
    return folder


def outputs(found, folder):
    return sorted(str(task.output.relative_to(folder)) for task in found)


def test_files_folders_and_patterns(clips, tmp_path):
    out = tmp_path / "out"
    assert outputs(tasks([str(clips)], out), out) == ["a.mp4", "b.mkv", "bad.mov"]
    deep = tasks([str(clips)], out, recursive=True, suffix="_sharp", ending=".mkv")
    assert outputs(deep, out) == ["a_sharp.mkv", "b_sharp.mkv", "bad_sharp.mkv", "more/a_sharp.mkv"]
    assert outputs(tasks([str(clips / "[ab].*"), str(clips / "a.mp4")], out), out) == [
        "a.mp4",
        "b.mkv",
    ]
    with pytest.raises(UsageError, match="no video is there"):
        tasks([str(clips / "none*.mp4")], out)


def test_no_two_outputs_have_one_name(clips, tmp_path):
    make_clip(clips / "a.MOV")
    named = [str(clips / "a.mp4"), str(clips / "a.MOV"), str(clips / "more")]
    found = tasks(named, tmp_path, ending=".mp4")
    names = [task.output.name.casefold() for task in found]
    assert len(set(names)) == 3
    alone = tasks([named[0], named[2]], tmp_path, ending=".mp4")
    assert [task.output for task in alone] == [found[0].output, found[2].output]


def test_outputs_within_the_inputs_are_not_taken(clips):
    out = clips / "sharp"
    make_clip(out / "a.mp4")
    found = tasks([str(clips)], out, recursive=True)
    assert not [task for task in found if task.source.parent == out]


def test_outputs_beside_the_inputs_are_not_restored_again(clips):
    first = tasks([str(clips)], clips, suffix="_sharp")
    for task in first:
        make_clip(task.output)
    assert tasks([str(clips)], clips, suffix="_sharp") == first
    named = str(clips / "a_sharp.mp4")
    assert named in [str(t.source) for t in tasks([str(clips), named], clips, suffix="_sharp")]


def test_a_forgotten_folder_for_outputs_is_said_at_once(clips, capfd):
    assert main(["batch", str(clips / "b.avi"), str(clips / "a.mp4"), "--model", "none"]) == 2
    assert "a.mp4 is a file: name the folder for outputs last" in capfd.readouterr().err


def test_a_bad_file_does_not_stop_the_rest(clips, tmp_path, capfd):
    out = tmp_path / "out"
    words = ["batch", str(clips), str(out), "--model", "none", "--recursive"]
    assert main([*words, "--json"]) == 1
    events = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    outcomes = {e["source"]: e for e in events if e["event"] == "outcome"}
    assert [outcomes[str(clips / name)]["status"] for name in ("a.mp4", "b.avi", "bad.mov")] == [
        "done",
        "done",
        "failed",
    ]
    assert outcomes[str(clips / "bad.mov")]["exit_code"] == 3
    assert events[-1] == {"event": "report", "done": 3, "skipped": 0, "failed": 1}
    made = sorted(str(p.relative_to(out)) for p in out.rglob("*") if p.is_file())
    assert made == ["a.mp4", "b.mkv", "more/a.mp4"]

    (out / "b.mkv").write_bytes(b"half of it")
    (clips / "bad.mov").unlink()
    assert main([*words, "--resume"]) == 1
    assert "b.mkv exists and is no complete result" in capfd.readouterr().err
    (out / "b.mkv").unlink()
    assert main([*words, "--resume"]) == 0
    shown = capfd.readouterr().out
    assert [line.split()[1] for line in shown.splitlines()] == [
        "what",
        "skipped",
        "done",
        "skipped",
    ]
    assert main(words) == 1  # outputs that exist are not replaced without --overwrite
    capfd.readouterr()


def test_links_to_themselves_and_upwards_are_left_out(clips):
    (clips / "loop.mp4").symlink_to("loop.mp4")
    (clips / "more" / "up").symlink_to("..")
    out = clips / "more" / "done"
    found = tasks([str(clips)], out, recursive=True)
    assert outputs(found, out) == ["a.mp4", "b.mkv", "bad.mov", "more/a.mp4"]
