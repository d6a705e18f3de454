"""Bad input at the command line: one line, the right exit code, and nothing lost or left behind."""

from __future__ import annotations

import contextlib
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import av
import pytest
import torch
from safetensors.torch import save_file

from unblur.cli import main

POSIX_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0
HTML = b"<!DOCTYPE html><html><head><title>Sign in</title></head><body>Quota</body></html>\n" * 40


def contents(folder):
    """Everything below a folder: bytes of files, targets of links, None for folders."""
    return {
        str(path.relative_to(folder)): (
            os.readlink(path)
            if path.is_symlink()
            else path.read_bytes()
            if path.is_file()
            else None
        )
        for path in sorted(Path(folder).rglob("*"))
    }


def unexpected(err):
    """Lines that were said, but for the plan of the job and where it stands."""
    expected = re.compile(
        r"unblur: (.* on \w+.*, .*frames?|nothing to restore|opening|looking through|restoring)"
    )
    return [line for line in err.splitlines() if not expected.match(line)]


@pytest.fixture
def refused(capfd, tmp_path, monkeypatch):
    """A function that runs a command line which must fail cleanly; gives the line it said."""
    monkeypatch.setenv("UNBLUR_HOME", str(tmp_path / "home"))

    def run(code, *words, folder=tmp_path, said=()):
        before = contents(folder)
        assert main([str(word) for word in words]) == code
        out, err = capfd.readouterr()
        errors = [line for line in unexpected(err) if not line.startswith("unblur: warning: ")]
        assert len(errors) == 1, err
        assert errors[0].startswith("unblur: error: ")
        assert "bug in unblur" not in errors[0]
        assert "Traceback" not in out + err
        for text in said:
            assert str(text) in errors[0]
        assert contents(folder) == before
        return errors[0]

    return run


@pytest.fixture
def restored(capfd):
    """A function that runs a command line which must succeed; gives its warnings."""

    def run(*words):
        assert main([str(word) for word in words]) == 0, capfd.readouterr().err
        lines = unexpected(capfd.readouterr().err)
        assert all(line.startswith("unblur: warning: ") for line in lines), lines
        return lines

    return run


def times(path):
    """Presentation times of a video's frames in seconds."""
    with av.open(str(path)) as file:
        return [float(frame.pts * frame.time_base) for frame in file.decode(video=0)]


# -- what comes in ---------------------------------------------------------------------------------


def empty(path, clip):
    path.write_bytes(b"")


def text_renamed(path, clip):
    path.write_text("Dear diary, today I filmed nothing.\n" * 100)


def web_page(path, clip):
    path.write_bytes(HTML)


def random_bytes(path, clip):
    path.write_bytes(bytes((i * i * 31 + i // 7) % 256 for i in range(20_000)))


def truncated_header(path, clip):
    whole = clip.read_bytes()
    path.write_bytes(whole[: len(whole) * 6 // 10])  # the index of an .mp4 lies at its end


def only_a_few_bytes(path, clip):
    path.write_bytes(clip.read_bytes()[:40])


def zero_frames(path, clip):
    with av.open(str(path), "w", format="avi") as file:
        stream = file.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 32, 24, "yuv420p"
        file.start_encoding()


def zero_frames_mp4(path, clip):
    with av.open(str(path), "w", format="mp4") as file:
        stream = file.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 32, 24, "yuv420p"
        file.start_encoding()


def a_folder_without_images(path, clip):
    path.mkdir()
    (path / "notes.txt").write_text("none here")


def absent(path, clip):
    pass


UNREADABLE = (
    absent,
    empty,
    text_renamed,
    web_page,
    random_bytes,
    truncated_header,
    only_a_few_bytes,
    zero_frames,
    zero_frames_mp4,
    a_folder_without_images,
)


@pytest.mark.parametrize("spoil", UNREADABLE, ids=lambda spoil: spoil.__name__)
@pytest.mark.parametrize("verb", ["restore", "probe"])
def test_unreadable_input(refused, make_clip, tmp_path, spoil, verb):
    if verb == "probe" and spoil in (zero_frames,):
        pytest.skip("a header without frames can still be described")
    clip = make_clip("good.mp4", size=(160, 120))
    bad = tmp_path / "bad video.mp4"
    spoil(bad, clip)
    out = [tmp_path / "out.mp4", "--model", "none"] if verb == "restore" else []
    refused(3, verb, bad, *out, said=[bad.name])


def test_audio_only(refused, make_clip, tmp_path):
    sound = make_clip("sound.mp4", frames=25, video=False, audio=True)
    said = refused(3, sound, tmp_path / "out.mp4", "--model", "none", said=[sound.name])
    assert "video" in said


def test_cover_art_only(refused, make_clip, tmp_path):
    """Music with an image of its cover holds no video either."""
    sound = make_clip("sound.mp4", frames=25, video=False, audio=True)
    cover = tmp_path / "cover.jpg"
    song = tmp_path / "song.m4a"
    with av.open(str(cover), "w", format="image2") as file:
        stream = file.add_stream("mjpeg", rate=1)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuvj420p"
        file.mux(stream.encode(av.VideoFrame(32, 32, "yuvj420p")))
        file.mux(stream.encode())
    with (
        av.open(str(sound)) as tone,
        av.open(str(cover)) as art,
        av.open(str(song), "w", format="mp4") as file,
    ):
        into = file.add_stream_from_template(tone.streams.audio[0])
        image = file.add_stream_from_template(art.streams.video[0])
        image.disposition = av.stream.Disposition.attached_pic
        for packet in tone.demux(audio=0):
            if packet.dts is not None:
                packet.stream = into
                file.mux(packet)
        for packet in art.demux(video=0):
            if packet.dts is not None:
                packet.stream = image
                file.mux(packet)
    sound.unlink()
    refused(3, song, tmp_path / "out.mp4", "--model", "none", said=[song.name])


def test_a_pattern_that_matches_nothing(refused, tmp_path):
    refused(3, tmp_path / "none_%05d.png", tmp_path / "out.mp4", "--model", "none")


# -- what is requested -----------------------------------------------------------------------------


def test_an_existing_output_is_kept(refused, restored, make_clip, tmp_path):
    clip = make_clip("in.mp4")
    out = tmp_path / "out.mp4"
    out.write_bytes(b"dear to somebody")
    refused(2, clip, out, "--model", "none", said=[out.name, "--overwrite"])
    restored(clip, out, "--model", "none", "--overwrite")
    assert len(times(out)) == 10


@pytest.mark.parametrize("spoil", [empty, text_renamed, truncated_header], ids=lambda s: s.__name__)
def test_a_failed_overwrite_keeps_the_old_file(refused, make_clip, tmp_path, spoil):
    clip = make_clip("good.mp4", size=(160, 120))
    spoil(tmp_path / "bad.mp4", clip)
    (tmp_path / "out.mp4").write_bytes(b"dear to somebody")
    refused(3, tmp_path / "bad.mp4", tmp_path / "out.mp4", "--model", "none", "--overwrite")


@pytest.mark.parametrize("disguise", ["same", "dotted", "symbolic link", "hard link"])
def test_the_input_is_never_the_output(refused, make_clip, tmp_path, disguise):
    clip = make_clip("in.mp4")
    (tmp_path / "sub").mkdir()
    out = tmp_path / "link.mp4"
    try:
        if disguise == "same":
            out = clip
        elif disguise == "dotted":
            out = tmp_path / "sub" / ".." / "in.mp4"
        elif disguise == "symbolic link":
            out.symlink_to(clip)
        else:
            os.link(clip, out)
    except OSError:
        pytest.skip("no such links here")
    refused(2, clip, out, "--model", "none")
    refused(2, clip, out, "--model", "none", "--overwrite")


def test_a_missing_output_folder(refused, make_clip, tmp_path):
    out = tmp_path / "nowhere" / "out.mp4"
    refused(2, make_clip("in.mp4"), out, "--model", "none", said=["nowhere"])


def test_an_output_folder_that_is_a_file(refused, make_clip, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    refused(2, make_clip("in.mp4"), tmp_path / "file" / "out.mp4", "--model", "none")


def test_an_output_that_is_a_folder(refused, make_clip, tmp_path):
    (tmp_path / "out.mp4").mkdir()
    clip = make_clip("in.mp4")
    refused(2, clip, tmp_path / "out.mp4", "--model", "none")
    refused(2, clip, tmp_path / "out.mp4", "--model", "none", "--overwrite")


@pytest.mark.skipif(os.name == "nt", reason="permissions of POSIX")
def test_an_unwritable_output_folder(refused, make_clip):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clip = shutil.copy(make_clip("in.mp4"), folder / "in.mp4")
        # Nobody may not even read modules in the home of root: they are imported before.
        assert main([str(clip), str(folder / "before.mp4"), "--model", "none", "-q"]) == 0
        os.remove(folder / "before.mp4")
        os.chmod(clip, 0o444)
        os.chmod(folder, 0o555)
        try:
            with ordinary_user():
                out = folder / "out.mp4"
                refused(2, clip, out, "--model", "none", folder=folder, said=[folder.name])
        finally:
            os.chmod(folder, 0o755)


@pytest.mark.skipif(os.name == "nt", reason="permissions of POSIX")
def test_an_unwritable_report_is_refused_before_the_work(make_clip, monkeypatch, capfd):
    clip = make_clip("in.mp4")
    monkeypatch.setattr("unblur.commands.analyze.look_through", lambda *_: pytest.fail("it looked"))
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o555)
        try:
            with ordinary_user():
                assert main(["analyze", str(clip), "--report", f"{name}/r.html"]) == 2
        finally:
            os.chmod(name, 0o755)
    assert "choose another folder" in capfd.readouterr().err


@pytest.mark.skipif(os.name == "nt", reason="permissions of POSIX")
def test_an_input_that_must_not_be_read(refused, make_clip):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clip = shutil.copy(make_clip("in.mp4"), folder / "in.mp4")
        os.chmod(folder, 0o777)
        before = clip.read_bytes()
        os.chmod(clip, 0)
        with ordinary_user():
            assert main([str(clip), str(folder / "out.mp4"), "--model", "none"]) == 3
        os.chmod(clip, 0o644)
        assert contents(folder) == {"in.mp4": before}


@contextlib.contextmanager
def ordinary_user():
    """Root may write anywhere; the block runs as nobody where it is root."""
    if not POSIX_ROOT:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize(
    "words",
    [
        ["out.xyz"],
        ["out"],
        ["out.txt"],
        ["out.mp4", "--model", "sharpinator"],
        ["out.mp4", "--codec", "betamax"],
        ["out.mp4", "--codec", "prores"],
        ["out.mp4", "--device", "abacus"],
        ["out.mp4", "--tile", "-1"],
        ["out.mp4", "--window", "0"],
        ["out.mp4", "--crf", "-1"],
        ["out.mp4", "--crf", "64"],
        ["out.mp4", "--strength", "nan"],
        ["out.mp4", "--start", "100s"],
        ["out.mp4", "--start", "f500"],
        ["out.mp4", "--start", "f10"],
        ["out.mp4", "--start", "00:01:00"],
        ["out.mp4", "--start", "f5", "--end", "f5"],
        ["out.mp4", "--start", "0.3s", "--end", "0.1s"],
        ["out.mp4", "--end", "f0"],
        ["out.mp4", "--start", "tomorrow"],
        ["out.mp4", "--start", "-1s"],
        ["out.mp4", "--start", "nan"],
        ["out.mp4", "--end", "1e99s"],
    ],
    ids=" ".join,
)
def test_requests_that_make_no_sense(refused, make_clip, tmp_path, words):
    name, *options = words
    if "--model" not in options:
        options += ["--model", "none"]
    refused(2, make_clip("in.mp4"), tmp_path / name, *options)


def test_an_unknown_model_is_told_the_known_ones(refused, make_clip, tmp_path):
    line = refused(2, make_clip("in.mp4"), tmp_path / "out.mp4", "--model", "sharpinator")
    assert "sharpinator" in line
    assert "none" in line or "unblur models" in line


# -- disk ------------------------------------------------------------------------------------------


@pytest.mark.skipif(not (POSIX_ROOT and sys.platform == "linux"), reason="mounts a tiny disk")
@pytest.mark.parametrize("name", ["out.mkv", "out.mp4", "out_%03d.png"])
@pytest.mark.parametrize("old", [False, True], ids=["new", "overwrite"])
def test_a_full_disk(refused, make_clip, tmp_path, name, old):
    clip = make_clip("in.mp4", frames=20, size=(160, 120))
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=96k", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("not allowed to mount")
    try:
        words = [clip, disk / name, "--model", "none"]
        words += [] if "%" in name else ["--crf", "0"]
        if old:
            if "%" in name:
                pytest.skip("images are many files")
            (disk / name).write_bytes(b"dear to somebody")
            words.append("--overwrite")
        refused(4, *words, folder=disk, said=["disk"])
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.skipif(os.name == "nt", reason="limits of POSIX")
def test_a_file_that_grows_past_its_limit(refused, make_clip, tmp_path):
    import resource

    clip = make_clip("in.mp4", frames=20, size=(160, 120))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (96 * 1024, hard))
    try:
        refused(4, clip, tmp_path / "out.mkv", "--model", "none", "--codec", "ffv1", said=["out"])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


# -- weights ---------------------------------------------------------------------------------------


class Intruder:
    """A pickle that writes a file when it is opened."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return (Path.write_text, (self.mark, "was here"))


def zipped_intruder(path, mark):
    torch.save({"conv.weight": torch.ones(2), "extra": Intruder(mark)}, path)


def legacy_intruder(path, mark):
    content = {"conv.weight": torch.ones(2), "extra": Intruder(mark)}
    torch.save(content, path, _use_new_zipfile_serialization=False)


def bare_intruder(path, mark):
    path.write_bytes(pickle.dumps(Intruder(mark)))


def system_call(path, mark):
    path.write_bytes(f"cos\nsystem\n(S'touch {mark}'\ntR.".encode())


def a_whole_module(path, mark):
    torch.save(torch.nn.Linear(2, 2), path)


def torchscript(path, mark):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), str(path))


def html(path, mark):
    path.write_bytes(HTML)


def empty_file(path, mark):
    path.write_bytes(b"")


def truncated_checkpoint(path, mark):
    torch.save({"conv.weight": torch.ones(4000)}, path)
    path.write_bytes(path.read_bytes()[:9000])


def strangers(path, mark):
    torch.save({"conv.weight": torch.ones(2)}, path)


def no_state_dict(path, mark):
    torch.save({"epoch": 3}, path)


def a_list(path, mark):
    torch.save([torch.ones(2)], path)


def huge_header(path, mark):
    path.write_bytes((2**62).to_bytes(8, "little") + b"{}" * 100)


BAD_WEIGHTS = (
    zipped_intruder,
    legacy_intruder,
    bare_intruder,
    system_call,
    a_whole_module,
    torchscript,
    html,
    empty_file,
    truncated_checkpoint,
    strangers,
    no_state_dict,
    a_list,
    huge_header,
)


@pytest.mark.parametrize("spoil", BAD_WEIGHTS, ids=lambda spoil: spoil.__name__)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".tgz"])
def test_bad_weights_are_refused_and_never_run(refused, make_clip, tmp_path, spoil, suffix):
    clip = make_clip("in.mp4", frames=1)
    bad = tmp_path / f"gopro{suffix}"
    mark = tmp_path / "mark"
    spoil(bad, mark)
    refused(3, "weights", "convert", bad, said=[bad.name])
    refused(3, "weights", "verify", bad, said=[bad.name])
    refused(3, clip, tmp_path / "out.mp4", "--weights", bad, said=[bad.name])
    assert not mark.exists()


def test_the_intruders_do_run_elsewhere(tmp_path):
    """Otherwise the test above would prove nothing."""
    for number, spoil in enumerate([zipped_intruder, legacy_intruder, bare_intruder, system_call]):
        bad, mark = tmp_path / f"{number}.pth", tmp_path / f"mark{number}"
        spoil(bad, mark)
        if spoil in (bare_intruder, system_call):
            pickle.loads(bad.read_bytes())
        else:
            torch.load(bad, weights_only=False)
        assert mark.exists() or (os.name == "nt" and spoil is system_call)


def test_weights_that_do_not_fit_what_they_name(refused, tmp_path):
    path = tmp_path / "best.safetensors"
    save_file({"conv.weight": torch.ones(2)}, path, {"network": "bsstnet-tiny"})
    refused(3, "weights", "verify", path, said=[path.name, "does not fit"])


def test_weights_with_nan(refused, make_clip, tmp_path):
    bad = tmp_path / "nan.safetensors"
    save_file({"conv.weight": torch.tensor([1.0, float("nan")])}, bad)
    clip = make_clip("in.mp4", frames=1)
    for words in (
        [clip, tmp_path / "out.mp4", "--weights", bad],
        ["weights", "convert", bad],
        ["weights", "verify", bad],
    ):
        refused(3, *words, said=[bad.name, "not finite"])


def test_weights_of_another_network(refused, make_clip, tmp_path):
    other = tmp_path / "other.safetensors"
    save_file({"conv.weight": torch.ones(3)}, other)
    said = refused(3, make_clip("in.mp4", frames=1), tmp_path / "out.mp4", "--weights", other)
    assert "conv.weight" in said  # the difference is listed


@pytest.mark.parametrize("verb", ["convert", "verify"])
def test_absent_weights(refused, tmp_path, verb):
    refused(3, "weights", verb, tmp_path / "absent.pth", said=["absent.pth"])


def test_a_model_whose_weights_are_not_here(refused, make_clip, tmp_path):
    out = tmp_path / "out.mp4"
    line = refused(3, make_clip("in.mp4", frames=1), out, "--model", "bsstnet-gopro")
    assert "unblur weights convert" in line


# -- damage in the middle --------------------------------------------------------------------------


@pytest.fixture
def damaged(make_clip, tmp_path):
    """A video whose images 8 and 9 of 20 are noise; every image stands alone."""
    clip = make_clip("clip.mkv", frames=20, size=(64, 48), codec="mjpeg")
    bad = tmp_path / "damaged.mkv"
    with av.open(str(clip)) as source, av.open(str(bad), "w") as file:
        into = file.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(source.demux(video=0)):
            if packet.dts is None:
                continue
            whole = packet
            if number in (8, 9):
                packet = av.Packet(bytes(i * 7 % 251 for i in range(packet.size)))
                packet.pts, packet.dts = whole.pts, whole.dts
                packet.duration, packet.time_base = whole.duration, whole.time_base
                packet.is_keyframe = True
            packet.stream = into
            file.mux(packet)
    clip.unlink()
    return bad


def test_damaged_packets_are_counted_and_frames_keep_their_times(restored, damaged, tmp_path):
    out = tmp_path / "out.mkv"
    said = restored(damaged, out, "--model", "none", "--codec", "ffv1")
    assert any("2" in line and damaged.name in line for line in said), said
    expected = [n / 25 for n in range(20) if n not in (8, 9)]
    got = times(out)
    kept = [t for t in got if min(abs(t - e) for e in expected) < 1e-3]
    assert kept == pytest.approx(expected, abs=1e-3)
    assert got == sorted(set(got))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["damaged.mkv", "out.mkv"]


def test_a_damaged_stretch_of_h264_keeps_the_other_times(restored, make_clip, tmp_path):
    clip = make_clip("clip.mp4", frames=60, size=(64, 48), codec="libx264")
    content = bytearray(clip.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 400] = bytes(i * 37 % 256 for i in range(400))
    clip.write_bytes(content)
    said = restored(clip, tmp_path / "out.mkv", "--model", "none")
    assert any("damaged" in line and clip.name in line for line in said), said
    got = times(tmp_path / "out.mkv")
    assert 30 < len(got) <= 60
    assert got == sorted(set(got))
    for time_ in got:  # every frame lies where it lay: on the grid of the source
        assert time_ * 25 == pytest.approx(round(time_ * 25), abs=0.05)
    assert got[-1] == pytest.approx(59 / 25, abs=2e-3)


def test_strict_refuses_damaged_packets(refused, damaged, tmp_path):
    refused(3, damaged, tmp_path / "out.mkv", "--model", "none", "--strict", said=[damaged.name])


@pytest.mark.parametrize("name", ["cut.mkv", "cut.ts", "cut.avi"])
def test_a_file_that_was_cut_off(restored, refused, make_clip, tmp_path, name):
    clip = make_clip(name, frames=40, size=(160, 120))
    whole = times(clip)
    content = clip.read_bytes()
    clip.write_bytes(content[: len(content) * 6 // 10])
    out = tmp_path / "out.mkv"
    said = restored(clip, out, "--model", "none")
    assert said, "no line says that the end is missing"
    got = times(out)
    assert 2 < len(got) < 40
    assert [t - got[0] for t in got] == pytest.approx(
        [t - whole[0] for t in whole[: len(got)]], abs=2e-3
    )
    out.unlink()
    refused(3, clip, out, "--model", "none", "--strict", said=[name])


# -- the end before the end ------------------------------------------------------------------------


def end_by_signals():
    """Test runners in the background, or by `nohup`, ignore some, and children inherit that."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def start_long_job(folder, clip):
    """A job of minutes in a process of its own, which has begun to write."""
    words = [sys.executable, "-m", "unblur", str(clip), str(folder / "out.mkv"), "-q"]
    words += ["--model", SLOW]
    job = subprocess.Popen(
        words,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=end_by_signals,
    )
    began = time.monotonic()
    while len(list(folder.iterdir())) < 2:
        assert job.poll() is None, job.communicate()
        assert time.monotonic() - began < 60
        time.sleep(0.02)
    time.sleep(0.5)
    return job


SLOW = "bsstnet-tiny"


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_an_interrupted_job_leaves_nothing(make_clip, tmp_path, name, code):
    folder = tmp_path / "work"
    folder.mkdir()
    clip = shutil.move(make_clip("in.mp4", frames=400, size=(320, 240)), folder / "in.mp4")
    job = start_long_job(folder, clip)
    job.send_signal(getattr(signal, name))
    out, err = job.communicate(timeout=60)
    assert job.returncode == code
    assert err == "unblur: interrupted\n"
    assert out == ""
    assert [path.name for path in folder.iterdir()] == ["in.mp4"]


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_a_killed_job_leaves_nothing_under_the_final_name(make_clip, tmp_path):
    folder = tmp_path / "work"
    folder.mkdir()
    clip = shutil.move(make_clip("in.mp4", frames=400, size=(320, 240)), folder / "in.mp4")
    job = start_long_job(folder, clip)
    job.kill()
    job.communicate(timeout=60)
    assert not (folder / "out.mkv").exists()


# -- odd, but good ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["ein Bär ☂🎬.mp4", "100%d done.mp4", "-leading.mp4", "with space.mp4", "a" * 200 + ".mp4"],
)
def test_odd_names_work(restored, make_clip, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    made = make_clip("plain.mp4", frames=3)
    try:
        made.rename(tmp_path / name)
    except OSError:
        pytest.skip("this file system has no such names")
    restored("--model", "none", "--", name, f"{name[:-4]}_out.mkv")
    assert len(times(tmp_path / f"{name[:-4]}_out.mkv")) == 3


@pytest.mark.parametrize("model", ["none", "bsstnet-tiny"])
def test_one_tiny_frame(restored, make_clip, tmp_path, model):
    clip = make_clip("in.mp4", frames=1, size=(16, 8))
    restored(clip, tmp_path / "out.mp4", "--model", model)
    assert len(times(tmp_path / "out.mp4")) == 1


@pytest.mark.parametrize(
    ("words", "count"),
    [
        (["--start", "f2"], 8),
        (["--end", "0.2s"], 5),
        (["--start", "00:00:00.080", "--end", "f4"], 2),
        (["--end", "f10"], 10),
    ],
)
def test_ranges(restored, make_clip, tmp_path, words, count):
    restored(make_clip("in.mp4"), tmp_path / "out.mkv", "--model", "none", *words)
    assert len(times(tmp_path / "out.mkv")) == count
