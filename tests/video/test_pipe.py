"""y4m and NUT through standard input and output: every sample and time, sound, broken pipes."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from fractions import Fraction

import av
import numpy as np
import pytest

import unblur
from unblur import cli
from unblur.errors import MediaError, UnblurWarning, UsageError
from unblur.video import create_video
from unblur.video.pipe import PipeReader, PipeWriter
from unblur.video.pixels.planes import channels_of

TICK = Fraction(1, 90_000)
SIZE = (34, 22)


def painted(pixel_format, n):
    image = av.VideoFrame(*SIZE, pixel_format)
    for plane in image.planes:
        rng = np.random.default_rng(n)
        samples = rng.integers(0, 256, plane.buffer_size, np.uint8)
        if "p10le" in pixel_format:
            samples[1::2] %= 4
        plane.update(samples.tobytes())
    return image


def nut(pixel_format="yuv420p", count=9, sound=True):
    """A clip of uneven times, with sound."""
    memory = io.BytesIO()
    with av.open(memory, "w", format="nut") as file:
        video = file.add_stream("rawvideo", rate=25)
        video.width, video.height, video.pix_fmt = *SIZE, pixel_format
        video.codec_context.time_base = video.time_base = TICK
        audio = file.add_stream("pcm_s16le", rate=48_000) if sound else None
        for n in range(count):
            image = painted(pixel_format, n)
            image.pts, image.time_base = 3600 * n + 7 * (n % 3), TICK
            file.mux(video.encode(image))
            if audio is not None:
                tone = np.full((1, 2 * 1920), n, np.int16)
                heard = av.AudioFrame.from_ndarray(tone, format="s16", layout="stereo")
                heard.sample_rate, heard.pts = 48_000, 1920 * n
                file.mux(audio.encode(heard))
        file.mux(video.encode(None))
    return memory.getvalue()


def y4m(header, frames):
    return b"YUV4MPEG2 " + header + b"\n" + b"".join(b"FRAME\n" + frame for frame in frames)


class Standard:
    """Standard input or output that is a pipe."""

    def __init__(self, data=b""):
        self.buffer = io.BytesIO(data)

    def isatty(self):
        return False

    def write(self, text):
        self.buffer.write(text.encode())

    def flush(self):
        pass


@pytest.fixture
def through(monkeypatch):
    """Runs the command line on some bytes; gives its exit code and what it wrote."""

    def run(data, *words):
        out = Standard()
        monkeypatch.setattr("sys.stdin", Standard(data))
        monkeypatch.setattr("sys.stdout", out)
        return cli.main(["-", "-", *words]), out.buffer.getvalue()

    return run


def contents(data):
    """Format, samples and times of the video, and packets of the sound."""
    frames, packets = [], []
    with av.open(io.BytesIO(data)) as file:
        for packet in file.demux():
            if packet.stream.type == "video":
                for image in packet.decode():
                    samples = b"".join(channel.tobytes() for channel in channels_of(image))
                    name = image.format.name
                    frames.append((name, image.pts * image.time_base, samples))
            elif packet.size:
                packets.append((packet.pts * packet.time_base, bytes(packet)))
    return frames, packets


FORMATS = ["yuv420p", "yuv422p10le", "yuv444p", "gray", "gbrp", "rgb24", "yuva420p", "nv12"]


@pytest.mark.parametrize("pixel_format", FORMATS)
def test_nut_passes_bit_for_bit_with_times_and_sound(through, pixel_format):
    data = nut(pixel_format)
    code, out = through(data, "--model", "none")
    assert code == 0
    assert contents(out) == contents(data)


@pytest.mark.parametrize(
    ("words", "size"),
    [
        (b"W6 H4 F30000:1001 Ip A4:3 C420mpeg2 XCOLORRANGE=LIMITED", 36),
        (b"W6 H4 F25:1 Ip A1:1 C420jpeg", 36),
        (b"W6 H4 F25:1 Ip A1:1 C420paldv", 36),
        (b"W6 H4 F25:1 Ip A1:1 C444p10 XCOLORRANGE=FULL", 144),
        (b"W6 H4 F25:1 Ip A1:1 Cmono", 24),
        (b"W6 H4 F25:1 Ip A1:1 C420p10", 72),
    ],
)
def test_y4m_passes_bit_for_bit(through, words, size):
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 256, size, np.uint8) for _ in range(4)]
    if b"p10" in words:
        for frame in frames:
            frame[1::2] %= 4
    data = y4m(words, [frame.tobytes() for frame in frames])
    code, out = through(data, "--model", "none")
    assert code == 0
    head, _, rest = out.partition(b"\n")
    assert rest == data.partition(b"\n")[2]
    said = set(head.split())
    assert said >= set(words.split())


def test_what_is_restored_is_what_a_file_gives(through, tmp_path):
    from unblur.restorers.registry import load_model

    data = nut("yuv444p", sound=False)
    (tmp_path / "in.nut").write_bytes(data)
    model = load_model("bsstnet-tiny", precision="fp32")
    unblur.restore(tmp_path / "in.nut", tmp_path / "out.mkv", model=model, codec="ffv1")
    code, out = through(data, "--model", "bsstnet-tiny", "--precision", "fp32")
    assert code == 0
    whole = contents((tmp_path / "out.mkv").read_bytes())[0]
    piped = contents(out)[0]
    assert [frame[2] for frame in piped] == [frame[2] for frame in whole]
    assert piped != contents(data)[0]


def test_one_format_becomes_the_other(through):
    code, out = through(nut("yuv420p", sound=False), "--model", "none", "--format", "y4m")
    assert code == 0
    assert out.startswith(b"YUV4MPEG2 W34 H22 ")
    _, back = through(out, "--model", "none", "--format", "nut")
    samples = [frame[2] for frame in contents(nut("yuv420p"))[0]]
    assert [frame[2] for frame in contents(back)[0]] == samples


def test_files_and_pipes(monkeypatch, tmp_path):
    data = nut("yuv420p")
    monkeypatch.setattr("sys.stdin", Standard(data))
    with pytest.warns(UnblurWarning, match=r"video alone is carried: not audio stream 1"):
        unblur.restore("-", tmp_path / "out.mkv", model="none", codec="ffv1")
    samples = [frame[2] for frame in contents(data)[0]]
    assert [f[2] for f in contents((tmp_path / "out.mkv").read_bytes())[0]] == samples
    out = Standard()
    monkeypatch.setattr("sys.stdout", out)
    report = unblur.restore(tmp_path / "out.mkv", "-", model="none")
    assert report.frames == 9
    assert [f[2] for f in contents(out.buffer.getvalue())[0]] == samples


def test_a_part_of_a_pipe(through):
    data = nut("yuv420p")
    code, out = through(data, "--model", "none", "--start", "f3", "--end", "f6")
    assert code == 0
    frames, sound = contents(out)
    whole, all_sound = contents(data)
    assert [frame[2] for frame in frames] == [frame[2] for frame in whole[3:6]]
    assert frames[0][1] == 0
    assert frames[2][1] == whole[5][1] - whole[3][1]
    assert sound[0][1] == all_sound[3][1]
    assert 0 <= sound[0][0] < Fraction(1, 100)


def test_only_video_is_on_standard_output(through, capfd):
    for words in ((), ("--json",), ("--verbose",)):
        code, out = through(nut(count=3), "--model", "none", *words)
        assert code == 0
        assert out.startswith(b"nut/multimedia container\0")
        assert len(contents(out)[0]) == 3


class Counting(io.RawIOBase):
    """An endless y4m that counts how far it was read."""

    def __init__(self):
        self.data, self.frames = y4m(b"W8 H8 F25:1 Ip A1:1 Cmono", []), 0

    def read(self, size=-1):
        while len(self.data) < size:
            self.frames += 1
            self.data += b"FRAME\n" + bytes([self.frames % 200]) * 64
        got, self.data = self.data[:size], self.data[size:]
        return got


def test_frames_go_on_as_they_come():
    source = Counting()
    with PipeReader(file=source) as reader:
        frames = iter(reader)
        for _ in range(1000):
            next(frames)
        assert source.frames < 1000 + 2 * 32768 // 70


def test_an_end_inside_of_a_frame_is_named(through):
    frames = [bytes(24)] * 3 + [bytes(9)]
    data = y4m(b"W6 H4 F25:1 Ip A1:1 Cmono", frames)
    with PipeReader(file=io.BytesIO(data)) as reader, pytest.warns(UnblurWarning, match="inside"):
        assert len(list(reader)) == 3
    assert reader.decode_failures == 1
    with (
        PipeReader(file=io.BytesIO(data), strict=True) as reader,
        pytest.raises(MediaError, match="inside of a frame"),
    ):
        list(reader)


@pytest.mark.parametrize(
    ("data", "code", "message"),
    [
        (b"", 3, "nothing came on standard input"),
        (b"RIFF....AVI LIST", 3, "neither y4m nor NUT"),
        (b"nut/multimedia container\0", 3, "standard input"),
        (b"YUV4MPEG2 W6 H4 F25:1 Cmono\n", 3, "standard input"),
        (b"YUV4MPEG2 W6 H4 F25:1 It Cmono\nFRAME\n" + bytes(24), 3, "interlaced"),
        (b"YUV4MPEG2 W60000 H60000 F25:1 Cmono\nFRAME\n", 3, "standard input"),
    ],
)
def test_what_is_no_video_is_named(through, capsys, data, code, message):
    got, out = through(data, "--model", "none")
    said = capsys.readouterr().err
    assert (got, out) == (code, b"")
    assert message in said
    assert len(said.strip().splitlines()) == 1


def test_wrong_requests_are_named(through, capsys, monkeypatch, tmp_path):
    for words, message in (
        (("--codec", "ffv1"), "leave --codec out"),
        (("--crf", "3"), "leave --crf out"),
        (("--stream", "1"), "leave --stream out"),
        (("--model", "atlas"), "whole shots"),
    ):
        assert through(nut(), *words)[0] == 2
        assert message in capsys.readouterr().err
    assert through(nut("rgb24"), "--model", "none", "--format", "y4m")[0] == 2
    assert "take --format nut" in capsys.readouterr().err
    monkeypatch.setattr(Standard, "isatty", lambda self: True)
    assert through(nut())[0] == 2
    assert "is a terminal" in capsys.readouterr().err
    (tmp_path / "in.nut").write_bytes(nut())
    with pytest.raises(UsageError, match="an extension says it"):
        unblur.restore(tmp_path / "in.nut", tmp_path / "out.mkv", model="none", format="nut")


def test_standard_streams_that_cannot_be_used_are_named(monkeypatch, tmp_path):
    """Closed, or the other way round: `unblur - OUT < FOLDER`, `unblur IN - 1< FILE`."""
    path = tmp_path / "in.mkv"
    path.write_bytes(b"mine")
    with path.open("ab", buffering=0) as only_written:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.FileIO(only_written.fileno(), "r")))
        with pytest.raises(MediaError, match=r"standard input cannot be read .*: name a file"):
            PipeReader()
    info = PipeReader(file=io.BytesIO(nut())).info
    with path.open("rb", buffering=0) as only_read:
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.FileIO(only_read.fileno(), "r")))
        with pytest.raises(UsageError, match=r"standard output takes nothing .*: name a file"):
            PipeWriter(info)
    with path.open("r+") as same:
        monkeypatch.setattr(sys, "stdout", same)
        with pytest.raises(UsageError, match="which is read"):
            create_video("-", info, inputs=(path, None))
    assert path.read_bytes() == b"mine"


@pytest.mark.parametrize("format", ["y4m", "nut"])
def test_a_reader_that_goes_is_an_error(format):
    class Gone(io.BytesIO):
        def write(self, data):
            if self.tell() > 3000:
                raise BrokenPipeError(32, "Broken pipe")
            return super().write(data)

    def work():
        with (
            PipeReader(file=io.BytesIO(nut(sound=False))) as reader,
            PipeWriter(reader.info, format=format, file=Gone()) as writer,
        ):
            for frame in reader:
                writer.write(frame)

    with pytest.raises(BrokenPipeError):
        work()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX pipe")
def test_programs_joined_by_pipes(tmp_path):
    """The program itself: frames through, a reader that goes, an empty writer."""
    program = [sys.executable, "-m", "unblur", "-", "-", "--model", "none", "--quiet"]
    data = nut("yuv420p", 200)
    done = subprocess.run(program, input=data, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
    assert contents(done.stdout) == contents(data)
    read, write = os.pipe()
    os.close(read)
    gone = subprocess.run(program, input=data, stdout=write, stderr=subprocess.PIPE)
    os.close(write)
    assert (gone.returncode, gone.stderr) == (141, b"")
