"""Jobs that are interrupted go on where they stood, and give what they would have given."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from fractions import Fraction
from types import SimpleNamespace

import av
import numpy as np
import pytest
import torch

import unblur
from unblur.cli import main
from unblur.commands import unfinished as parts
from unblur.commands.unfinished import folder_of, leftovers, remove
from unblur.disk import Staged, put_file
from unblur.errors import MediaError, ResourceError, UnblurWarning, UsageError
from unblur.ops.shots import Shot
from unblur.restorers.base import Preset, Window
from unblur.restorers.none import Untouched
from unblur.restorers.registry import PRESETS, RESTORED_BY
from unblur.video.kept import Kept

FRAMES, SEGMENT = 26, 10
SHOTS = (15, 11)


class Mixing(Untouched):
    """What comes out depends on every frame of a window, and some frames are in two windows."""

    info = dataclasses.replace(
        Untouched.info, name="mixing", passes_through=False, window=6, fuse=1
    )

    def windows(self, length, limit=None):
        size = min(6, length)
        starts = [*range(0, length - size, 4), length - size]
        return [Window(tuple(range(a, a + size)), tuple(range(a, a + size))) for a in starts]

    def run(self, frames, guidance, outputs):
        return 0.7 * frames[list(outputs)] + 0.3 * frames.mean(0)


class Killed(BaseException):
    """The process is gone: nothing is tidied up after it."""


@pytest.fixture(autouse=True)
def small_segments(monkeypatch):
    monkeypatch.setattr("unblur.video.kept.MOST_FRAMES", SEGMENT)
    monkeypatch.setitem(PRESETS, "mixing", Preset(Mixing.info, lambda options: Mixing()))


@pytest.fixture
def clip(tmp_path):
    """Two shots with sound."""
    path = tmp_path / "in.mov"
    rng = np.random.default_rng(0)
    with av.open(str(path), "w") as file:
        video, sound = file.add_stream("mpeg4", rate=25), file.add_stream("pcm_s16le", rate=8000)
        video.width, video.height, video.pix_fmt = 64, 32, "yuv420p"
        sound.layout = "mono"
        number = 0
        for length in SHOTS:
            shot = rng.integers(0, 255, (4, 12, 3), np.uint8).repeat(8, 0).repeat(8, 1)
            for i in range(length):
                shown = av.VideoFrame.from_ndarray(np.ascontiguousarray(shot[:, i : i + 64]))
                shown.pts, shown.time_base = number + (number > 20), Fraction(1, 25)
                file.mux(video.encode(shown))
                number += 1
        file.mux(video.encode(None))
        tone = av.AudioFrame.from_ndarray(
            rng.integers(-999, 999, (1, 8000), np.int16), "s16", "mono"
        )
        tone.rate, tone.pts = 8000, 0
        file.mux(sound.encode(tone))
        file.mux(sound.encode(None))
    return path


@pytest.fixture
def whole(clip, tmp_path):
    """What comes out without interruption, in Matroska."""
    unblur.restore(clip, tmp_path / "whole.mkv", model="mixing")
    return tmp_path / "whole.mkv"


@pytest.fixture
def killed(monkeypatch):
    """A function that restores until a number of frames were written, and then is no more."""

    def run(source, target, after, **options):
        written = 0
        with monkeypatch.context() as patch:
            patch.setattr(parts, "_tidy", lambda folder: None)
            patch.setattr(parts, "_remove", lambda kept, lock: lock.close())
            from unblur.commands import restore_file

            write = restore_file.write

            def count(writer, preview, item):
                nonlocal written
                if written == after:
                    raise Killed
                written += 1
                write(writer, preview, item)

            patch.setattr(restore_file, "write", count)
            patch.setattr("unblur.video.output.Pending.publish", die)
            with pytest.raises(Killed):
                unblur.restore(source, target, **options)

    def die(self):
        raise Killed

    return run


def content(path):
    """Bytes of a file, or of the files in a folder."""
    if path.is_file():
        return path.read_bytes()
    return {file.name: file.read_bytes() for file in sorted(path.iterdir())}


def visible(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("after", [0, 7, SEGMENT, SEGMENT + 1, 17, FRAMES])
def test_what_is_resumed_equals_what_was_not_interrupted(clip, tmp_path, killed, after):
    options = {"model": "mixing", "start": "f1"}
    whole, out = tmp_path / "whole.mp4", tmp_path / "out.mp4"
    unblur.restore(clip, whole, **options)
    killed(clip, out, after, **options)
    assert not out.exists()
    report = unblur.restore(clip, out, resume=True, **options)
    assert report.frames == FRAMES - 1
    assert content(out) == content(whole)
    assert visible(tmp_path) == ["in.mov", "out.mp4", "whole.mp4"]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        pytest.param(
            "out.mp4",
            {"model": "bsstnet-tiny", "window": 6, "fuse": 2, "end": "f12"},
            marks=pytest.mark.slow,
        ),
        ("out.mkv", {"model": "none", "codec": "ffv1"}),
        ("out.mkv", {"model": "mixing", "codec": "h265"}),
        ("frames", {"model": "mixing", "codec": "png"}),
    ],
    ids=["network", "untouched", "h265", "images"],
)
@pytest.mark.filterwarnings("ignore::unblur.errors.UnblurWarning")
def test_a_job_that_is_killed_again_and_again(clip, tmp_path, killed, name, options):
    whole, out = tmp_path / f"whole_{name}", tmp_path / name
    unblur.restore(clip, whole, **options)
    for after in (8, 11):
        killed(clip, out, after, resume=True, **options)
    unblur.restore(clip, out, resume=True, **options)
    assert content(out) == content(whole)


@pytest.mark.parametrize("kinds", [("sharp", "motion"), ("motion", "sharp")])
@pytest.mark.filterwarnings("ignore::unblur.errors.UnblurWarning")
def test_shots_of_their_own_model_go_on_and_sharp_ones_keep_every_bit(
    clip, tmp_path, killed, kinds, monkeypatch
):
    def looked(frames, *_):
        assert len(list(frames)) == FRAMES
        return [Shot(0, SHOTS[0]), Shot(SHOTS[0], FRAMES)], list(kinds)

    monkeypatch.setattr("unblur.commands.first_pass.look_for_blur", looked)
    monkeypatch.setitem(RESTORED_BY, "motion", ("mixing", "mixing"))
    whole, out = tmp_path / "whole.mkv", tmp_path / "out.mkv"
    options = {"codec": "ffv1", "quality": "fast"}
    report = unblur.restore(clip, whole, **options)
    assert (report.model, report.frames, report.shots) == ("mixing", FRAMES, 2)
    before, after_it = planes(clip), planes(whole)
    cut = SHOTS[0]
    assert report.untouched == (cut if kinds[0] == "sharp" else FRAMES - cut)
    kept = before[:cut] == after_it[:cut], before[cut:] == after_it[cut:]
    assert kept == tuple(kind == "sharp" for kind in kinds)
    for after in (8, 11):
        killed(clip, out, after, resume=True, **options)
    unblur.restore(clip, out, resume=True, **options)
    assert content(out) == content(whole)


def planes(path):
    """Planes of all frames, as bytes."""
    with av.open(str(path)) as file:
        return [frame.to_ndarray().tobytes() for frame in file.decode(video=0)]


@pytest.mark.parametrize("damage", ["half a frame", "a wrong byte", "a lost segment"])
def test_what_was_half_written_is_done_again(clip, whole, tmp_path, killed, damage):
    out = tmp_path / "out.mkv"
    killed(clip, out, 17, model="mixing")
    folder = folder_of(out)
    log, first = folder / "00001.frames", folder / "00000.packets"
    if damage == "half a frame":
        os.truncate(log, log.stat().st_size - 5)
    elif damage == "a wrong byte":
        data = bytearray(first.read_bytes())
        data[-10] ^= 1
        first.write_bytes(data)
    else:
        first.unlink()
    unblur.restore(clip, out, model="mixing", resume=True)
    assert content(out) == content(whole)


def test_work_is_not_done_twice(clip, tmp_path, killed, monkeypatch):
    killed(clip, tmp_path / "out.mkv", 23, model="mixing", fuse="off")
    runs = []
    run = Mixing.run
    monkeypatch.setattr(Mixing, "run", lambda *given: runs.append(1) or run(*given))
    said = []
    unblur.restore(
        clip, tmp_path / "out.mkv", model="mixing", fuse="off", resume=True, progress=said.append
    )
    assert len(runs) == 2  # of the windows of 15 and 11 frames, the two that frame 23 is in
    assert min(p.done for p in said if p.stage == "restore") == 23
    assert "look through" not in {p.stage for p in said}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"strength": 0.5}, r"--strength 1.0, now there is --strength 0.5"),
        ({"end": "f20"}, "no --end, now there is --end f20"),
        ({"model": "bsstnet-tiny"}, "--model mixing"),
        ({"strict": True}, "no --strict, now there is --strict;"),
        ("input", "the content of the input changed"),
        ("time", r"the input was written again .* `touch -d @\d+\.\d{9} IN`"),
        ("version", "unblur"),
        ("weights", "the weights of mixing changed"),
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore::unblur.errors.UnblurWarning")
def test_whatever_differs_is_refused_by_name(clip, tmp_path, killed, monkeypatch, change, said):
    out = tmp_path / "out.mkv"
    killed(clip, out, 12, model="mixing")
    before = content(folder_of(out))
    options = {"model": "mixing"}
    if change == "input":
        clip.write_bytes(clip.read_bytes()[:-1] + b"?")
    elif change == "time":
        os.utime(clip, (1, 1))
    elif change == "version":
        monkeypatch.setattr(unblur, "__version__", "9.9")
    elif change == "weights":
        monkeypatch.setattr("unblur.commands.resume.digest_of", lambda model: "other")
    else:
        options |= change
    with pytest.raises(UsageError, match=said) as refused:
        unblur.restore(clip, out, resume=True, **options)
    assert "unblur clean" in str(refused.value)
    after = content(folder_of(out))
    assert {k: v for k, v in after.items() if k != "lock"} == {
        k: v for k, v in before.items() if k in after and k != "lock"
    }


@pytest.mark.parametrize("damage", ["a number", "cut off", "another kind"])
def test_a_damaged_journal_is_not_believed(clip, whole, tmp_path, killed, damage):
    out = tmp_path / "out.mkv"
    killed(clip, out, 12, model="mixing")
    journal = folder_of(out) / "journal.json"
    text = journal.read_text()
    if damage == "a number":  # of frames of a shot, which would give other frames
        entries = json.loads(text)
        entries["chosen"]["shots"][0][1] -= 1
        text = json.dumps(entries)
    journal.write_text(
        "[]" if damage == "another kind" else text[: -9 if "cut" in damage else None]
    )
    with pytest.warns(UnblurWarning, match=r"journal .*out.mkv is damaged: it is done again"):
        unblur.restore(clip, out, model="mixing", resume=True)
    assert content(out) == content(whole)


def test_a_name_need_not_be_text(clip, whole, tmp_path, killed, capfd):
    out = tmp_path / os.fsdecode(b"o\xff.mkv")
    try:
        out.touch()
    except OSError:
        pytest.skip("names are text on this file system")
    out.unlink()
    killed(clip, out, 12, model="mixing")
    assert [left.target for left in leftovers(tmp_path)] == [out]
    assert main(["clean", str(tmp_path), "--dry-run"]) == 0
    unblur.restore(clip, out, model="mixing", resume=True)
    assert content(out) == content(whole)
    assert folder_of(out).exists() is False


def test_a_folder_that_was_moved_goes_on_and_is_named(clip, whole, tmp_path, killed):
    (tmp_path / "here").mkdir()
    killed(clip, tmp_path / "here" / "out.mkv", 12, model="mixing")
    there = (tmp_path / "here").rename(tmp_path / "there")
    assert [left.target for left in leftovers(there)] == [there / "out.mkv"]
    unblur.restore(clip, there / "out.mkv", model="mixing", resume=True)
    assert content(there / "out.mkv") == content(whole)


def test_what_a_killed_removal_leaves_is_found(clip, tmp_path, killed, monkeypatch):
    out = tmp_path / "out.mkv"
    killed(clip, out, 12, model="mixing")
    monkeypatch.setattr("unblur.video.kept.Kept.remove", lambda kept: kept.close())
    remove(leftovers(out)[0])
    assert [path.name for path in folder_of(out).iterdir()] == ["lock"]
    assert [left.target for left in leftovers(tmp_path)] == [out]


def test_a_log_gives_its_space_back_on_a_full_disk(tmp_path):
    resource = pytest.importorskip("resource")
    image = av.VideoFrame.from_ndarray(np.zeros((24, 32, 3), np.uint8))
    frame = SimpleNamespace(image=image, index=0)
    kept = Kept(tmp_path)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, before[1]))
    try:
        for _ in range(20):
            kept.add_frame(0, frame)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (tmp_path / "00000.frames").stat().st_size == 0


def test_progress_of_what_goes_on_stays_within_the_frames(clip, tmp_path, killed):
    killed(clip, tmp_path / "out.mkv", 23, model="mixing", fuse="off")
    said = []
    unblur.restore(
        clip, tmp_path / "out.mkv", model="mixing", fuse="off", resume=True, progress=said.append
    )
    assert max(p.done for p in said if p.stage == "restore") == FRAMES


def test_without_resume_nothing_is_lost(clip, tmp_path, killed, capfd):
    out = tmp_path / "out.mkv"
    killed(clip, out, 12, model="mixing")
    with pytest.raises(UsageError, match=r"add --resume to go on, or .*`unblur clean"):
        unblur.restore(clip, out, model="mixing")
    assert main(["clean", str(tmp_path), "--dry-run"]) == 0
    assert folder_of(out).is_dir()
    assert main(["clean", str(out)]) == 0
    assert "out.mkv" in capfd.readouterr().out
    assert visible(tmp_path) == ["in.mov"]
    unblur.restore(clip, out, model="mixing")


@pytest.mark.parametrize("name", ["out.mkv", "frames/%03d.png", "frames/"])
def test_the_line_that_is_done_says_so_and_does_nothing(clip, tmp_path, capfd, name):
    (tmp_path / "frames").mkdir()
    words = [str(clip), f"{tmp_path}/{name}", "--model", "mixing", "--resume"]
    assert main([*words, "-q"]) == 0
    before = content(tmp_path / name.partition("/")[0])
    capfd.readouterr()
    assert main(words) == 0
    assert "is complete already: nothing to do" in capfd.readouterr().out
    assert main([*words, "--json"]) == 0
    report = json.loads(capfd.readouterr().out.splitlines()[-1])
    assert (report["event"], report["skipped"], report["frames"]) == ("report", True, 0)
    assert content(tmp_path / name.partition("/")[0]) == before
    assert main([*words, "--overwrite", "--json"]) == 0
    report = json.loads(capfd.readouterr().out.splitlines()[-1])
    assert (report["skipped"], report["frames"]) == (False, FRAMES)


@pytest.mark.parametrize("other", ["no video", "another size", "the input", "the same file"])
def test_what_is_no_result_is_not_taken_for_one(clip, tmp_path, other):
    out, before = tmp_path / "out.mov", clip.read_bytes()
    said = "exists and is no complete result"
    if other == "no video":
        out.touch()
    elif other == "another size":
        small = np.zeros((3, 16, 16, 3), np.uint8)
        with av.open(str(out), "w") as file:
            video = file.add_stream("mpeg4", rate=25)
            video.width, video.height, video.pix_fmt = 16, 16, "yuv420p"
            for image in small:
                file.mux(video.encode(av.VideoFrame.from_ndarray(image)))
            file.mux(video.encode(None))
        said = "exists with frames of 16x16"
    elif other == "the input":
        out, said = clip, "is the input"
    else:
        os.link(clip, out)
        said = "is the input"
    with pytest.raises(UsageError, match=said):
        unblur.restore(clip, out, model="mixing", resume=True)
    assert clip.read_bytes() == before


@pytest.mark.parametrize("name", ["out.mkv", "frames"])
@pytest.mark.parametrize(
    ("how", "again"), [("killed", True), ("killed", False), ("interrupted", True)]
)
@pytest.mark.filterwarnings("ignore:.*images do not hold its audio")
@pytest.mark.filterwarnings("error::unblur.errors.UnblurWarning")
def test_a_job_that_ends_when_its_output_has_its_name(
    clip, tmp_path, monkeypatch, name, how, again
):
    """Nothing is to be done of it, and nothing stays beside it."""
    out = tmp_path / name
    options = {"model": "mixing", "codec": "png" if name == "frames" else None}
    error = Killed if how == "killed" else KeyboardInterrupt
    place, original = "unblur.video.output.put_file", put_file
    if name == "frames":
        place, original = "unblur.disk.Staged.put", Staged.put

    def named(*given, **more):
        original(*given, **more)
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(place, named)
        patch.setattr(parts, "WORTH", 0.0)
        if how == "killed":
            patch.setattr(parts, "_remove", lambda kept, lock: lock.close())
        with pytest.raises(error):
            unblur.restore(clip, out, **options)
    assert (how == "killed") == folder_of(out).exists()
    before = content(out)
    if again:
        assert unblur.restore(clip, out, resume=True, **options).skipped
    else:
        with pytest.raises(UsageError, match="exists"):
            unblur.restore(clip, out, **options)
    assert content(out) == before
    assert set(visible(tmp_path)) == {"in.mov", name}


def test_an_output_that_was_to_be_replaced_is_not_the_new_one(clip, whole, tmp_path, killed):
    out = tmp_path / "out.mkv"
    unblur.restore(clip, out, model="none", codec="ffv1")
    old = content(out)
    killed(clip, out, 12, model="mixing", overwrite=True)
    with pytest.raises(UsageError, match="exists"):
        unblur.restore(clip, out, model="mixing", resume=True)
    assert content(out) == old
    assert not unblur.restore(clip, out, model="mixing", resume=True, overwrite=True).skipped
    assert content(out) == content(whole)


def test_clean_knows_only_what_it_made(tmp_path):
    for name in (".mine.unblur", ".out.12345678.unblur"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "dear.txt").write_text("mine")
    (tmp_path / ".out.part.mkv").write_text("mine")
    assert leftovers(tmp_path) == []
    assert main(["clean", str(tmp_path)]) == 0
    assert len(list(tmp_path.iterdir())) == 3


def test_two_jobs_on_one_output(clip, tmp_path):
    out = tmp_path / "out.mkv"
    met = []

    def second(now):
        if now.stage == "restore" and not met:
            with pytest.raises(UsageError, match=r"another job \(process \d+ on .*\)") as refused:
                unblur.restore(clip, out, model="mixing", resume=True)
            met.append(str(refused.value))
            met.extend(leftovers(out))

    unblur.restore(clip, out, model="mixing", progress=second)
    assert met[1].at_work
    assert met[1].target == out
    assert out.exists()


@pytest.mark.parametrize("seconds", [0.0, 1e9])
def test_what_is_worth_little_is_not_kept(clip, tmp_path, monkeypatch, seconds):
    monkeypatch.setattr(parts, "WORTH", seconds)

    def stop(now):
        if now.stage == "restore" and now.done == 12:
            raise KeyboardInterrupt

    def begin():
        unblur.restore(clip, tmp_path / "out.mkv", model="mixing", progress=stop)

    if seconds:
        with pytest.raises(KeyboardInterrupt):
            begin()
        assert visible(tmp_path) == ["in.mov"]
        return
    with pytest.raises(KeyboardInterrupt), pytest.warns(match="with --resume to go on"):
        begin()
    assert len(leftovers(tmp_path)) == 1
    unblur.restore(clip, tmp_path / "whole.mkv", model="mixing")
    unblur.restore(clip, tmp_path / "out.mkv", model="mixing", resume=True)
    assert content(tmp_path / "out.mkv") == content(tmp_path / "whole.mkv")


def test_an_input_that_became_shorter(clip, tmp_path, killed, monkeypatch):
    killed(clip, tmp_path / "out.mkv", 25, model="mixing")
    monkeypatch.setattr("unblur.commands.resume.fingerprint", lambda path, timed: "")
    monkeypatch.setattr("unblur.commands.resume.time_of", lambda path: "")
    journal = folder_of(tmp_path / "out.mkv") / "journal.json"
    facts = json.loads(journal.read_text())
    facts["facts"] |= {"the content of the input": "", "the time of the input": ""}
    del facts["check"]
    facts["check"] = parts._check(facts)
    journal.write_text(json.dumps(facts))
    short = tmp_path / "short.mov"
    unblur.restore(clip, short, model="none", end="f12", codec="prores")
    with pytest.raises((MediaError, UsageError)):
        unblur.restore(short, tmp_path / "out.mkv", model="mixing", resume=True)


@pytest.mark.skipif(
    not (sys.platform == "linux" and os.geteuid() == 0), reason="mounts a tiny disk"
)
def test_a_full_disk_is_no_end(clip, tmp_path, monkeypatch):
    """Once there is room again, the job goes on."""
    monkeypatch.setattr(parts, "WORTH", 0.0)
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=72k", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("not allowed to mount")
    try:
        options = {"model": "mixing", "codec": "ffv1"}
        with (
            pytest.raises(ResourceError, match="free some space") as full,
            pytest.warns(match="--resume"),
        ):
            unblur.restore(clip, disk / "out.mkv", **options)
        assert full.value.exit_code == 4
        subprocess.run(["mount", "-o", "remount,size=9m", str(disk)], check=True)
        unblur.restore(clip, tmp_path / "whole.mkv", **options)
        said = []
        unblur.restore(clip, disk / "out.mkv", resume=True, progress=said.append, **options)
        assert min(p.done for p in said if p.stage == "restore") >= SEGMENT
        assert content(disk / "out.mkv") == content(tmp_path / "whole.mkv")
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_frames_within_reach_are_enough(monkeypatch):
    """A frame's image does not depend on where its job was taken up."""
    from unblur.engine.fusion import Fusion
    from unblur.engine.plan import MemoryPlan
    from unblur.engine.rendition import Rendition
    from unblur.engine.run import Runner
    from unblur.guidance.align import DisAlignment
    from unblur.ops.shots import Shot

    @dataclasses.dataclass(frozen=True)
    class Plain:
        number: int
        image: torch.Tensor

        def rgb(self):
            return self.image

    noise = torch.rand(23, 3, 24, 32, generator=torch.Generator().manual_seed(0))
    frames = [Plain(i, x) for i, x in enumerate(noise)]
    shots = [Shot(0, 14), Shot(14, 23)]
    fusion = Fusion(2, DisAlignment(), torch.device("cpu"))
    for with_fusion in (None, fusion):
        runner = Runner(
            Mixing(),
            Rendition("encoded", "iec61966-2-1"),
            MemoryPlan(None, None),
            None,
            with_fusion,
        )
        whole = dict((f.number, x) for f, x in runner.restore(frames, shots))
        for first in (0, 1, 5, 6, 12, 13, 14, 15, 22):
            begin = runner.begin(shots, first)
            rest = list(runner.restore(frames[begin:], shots, None, first))
            assert [frame.number for frame, _ in rest] == list(range(first, 23))
            for frame, image in rest:
                assert torch.equal(image, whole[frame.number])


@pytest.mark.skipif(os.name == "nt", reason="links and pipes of POSIX")
@pytest.mark.parametrize("name", ["journal.json", "00000.frames", "00001.frames", "result", "own"])
def test_links_and_pipes_among_what_was_done_lead_nowhere(clip, whole, tmp_path, killed, name):
    """Whatever they point to stays as it is, and nothing waits for a pipe."""
    target, mine = tmp_path / "out.mkv", tmp_path / "mine"
    mine.write_bytes(b"mine" * 1000)
    for put in (lambda path: path.symlink_to(mine), os.mkfifo):
        killed(clip, target, 17, model="mixing")
        place = folder_of(target) / name
        place.unlink(missing_ok=True)
        put(place)
        assert [left.target for left in leftovers(tmp_path)] == [target]
        unblur.restore(clip, target, model="mixing", resume=True, overwrite=True)
        assert content(target) == content(whole)
        assert mine.read_bytes() == b"mine" * 1000
        target.unlink()


@pytest.mark.skipif(os.name == "nt", reason="links and pipes of POSIX")
def test_a_lock_or_folder_of_somebody_else_is_not_touched(clip, tmp_path, capsys):
    target, mine = tmp_path / "out.mkv", tmp_path / "mine"
    (mine / "more").mkdir(parents=True)
    for path in (mine / "lock", mine / "more" / "thesis"):
        path.write_text("my only copy")
    place = folder_of(target)
    place.symlink_to(mine)
    assert leftovers(tmp_path) == []
    assert main(["clean", str(tmp_path)]) == 0
    with pytest.raises(UsageError, match="remove it, or choose another name"):
        unblur.restore(clip, target, model="none")
    place.unlink()
    place.mkdir()
    (place / "lock").symlink_to(mine / "lock")
    with pytest.raises(UsageError, match="remove it, or choose another name"):
        unblur.restore(clip, target, model="none")
    assert (mine / "lock").read_text() == (mine / "more" / "thesis").read_text() == "my only copy"


def test_zeros_are_no_frames(tmp_path):
    """As where a disk that was full or cut off gave room and no content."""
    path = tmp_path / "00000.frames"
    path.touch()
    os.truncate(path, 10**11)
    assert Kept(tmp_path).waiting(0) == []
    assert path.stat().st_size == 0
