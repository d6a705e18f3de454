"""Small clips for the tests of containers, made on the spot."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np

RATE = 25
TICKS = Fraction(1, 90000)
ROTATED = (0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30)  # shown turned by 90 degrees clockwise
MIRRORED = (-65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30)
VFR = (0, 3600, 5040, 12600, 12690, 30600, 33300, 39960, 50040, 60030, 70020, 99990)
LOSSLESS = {"libx264": {"qp": "0"}, "libx265": {"x265-params": "lossless=1:log-level=none"}}


def image(
    index: int, size: tuple[int, int], pixel_format: str, strength: int = 19999
) -> av.VideoFrame:
    """Noise over a moving ramp: every bit of every plane is used."""
    width, height = size
    noise = np.random.default_rng(index).integers(0, strength + 1, (height, width, 3))
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    ramp = ((x + 3 * index) % 64 + y % 64)[..., None] * np.array([355, 200, 300])
    rgb = (noise + ramp).astype(np.uint16)
    frame = av.VideoFrame.from_ndarray(rgb, "rgb48le").reformat(format=pixel_format)
    if "a" in pixel_format.replace("gray", ""):
        for plane in frame.planes[3:] or frame.planes[-1:]:
            data = np.frombuffer(plane, np.uint8)
            data ^= np.random.default_rng(99 + index).integers(0, 4, data.size, np.uint8)
    return frame


def make_clip(
    path: Path,
    *,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    size: tuple[int, int] = (64, 48),
    pts: Sequence[int] | int = 12,
    time_base: Fraction = TICKS,
    matrix: tuple[int, ...] | None = None,
    aspect: Fraction | None = None,
    tags: tuple[int, int, int, int] | None = None,
    options: dict[str, str] | None = None,
    muxer_options: dict[str, str] | None = None,
    metadata: dict[str, str] | None = None,
    audio: str | None = None,
    subtitles: Sequence[tuple[float, float, str]] = (),
    chapters: Sequence[tuple[float, float, str]] = (),
    attachment: bytes | None = None,
    interlaced: bool = False,
    noise: int = 19999,
) -> Path:
    """Writes a clip; `pts` is a list of times in ticks, or a number of frames at 25 per second.

    `tags` are the numbers of H.273 for matrix, primaries, transfer, and FFmpeg's for the range.
    """
    step = round(1 / (RATE * time_base))
    times = [n * step for n in range(pts)] if isinstance(pts, int) else list(pts)
    options = {**LOSSLESS.get(codec, {}), **(options or {})}
    if interlaced:
        options["x264-params"] = "tff=1"
    muxer_options = {"movie_timescale": "90000", **(muxer_options or {})}
    if path.suffix not in (".mp4", ".mov"):
        del muxer_options["movie_timescale"]
    with av.open(str(path), "w", container_options=muxer_options) as out:
        out.metadata.update(metadata or {})
        video: Any = out.add_stream(codec, rate=RATE, options=options)
        context = video.codec_context
        context.width, context.height = size
        context.pix_fmt = pixel_format
        context.time_base = video.time_base = time_base
        if codec == "libvpx-vp9" and "yuva" in pixel_format:
            video.metadata["alpha_mode"] = "1"
        if matrix:
            video.set_display_matrix(matrix)
        if aspect:
            context.sample_aspect_ratio = aspect
        if tags:
            context.colorspace, context.color_primaries = tags[:2]
            context.color_trc, context.color_range = tags[2:]
        if interlaced:
            context.flags |= av.codec.context.Flags.interlaced_dct
            context.options = {**options, "field_order": "tt"}
        sound: Any = out.add_stream(audio, rate=48000) if audio else None
        text: Any = None
        if subtitles:
            kind = "mov_text" if path.suffix in (".mp4", ".mov") else "subrip"
            text = out.add_mux_stream(kind, time_base=Fraction(1, 1000))
            text.metadata["language"] = "fra"
        if attachment is not None:
            out.add_attachment("font.ttf", "application/x-truetype-font", attachment)
        out.set_chapters(
            [
                {
                    "id": n,
                    "start": round(start * 1000),
                    "end": round(end * 1000),
                    "time_base": Fraction(1, 1000),
                    "metadata": {"title": title},
                }
                for n, (start, end, title) in enumerate(chapters, 1)
            ]
        )
        out.start_encoding()
        _write_sound(out, sound, float(times[-1] * time_base) + 1 / RATE)
        for start, end, line in subtitles:
            count = len(line).to_bytes(2, "big") if kind == "mov_text" else b""
            packet: Any = av.Packet(count + line.encode())
            packet.stream, packet.time_base = text, Fraction(1, 1000)
            packet.pts = packet.dts = round(start * 1000)
            packet.duration = round((end - start) * 1000)
            out.mux(packet)
        durations = [b - a for a, b in pairwise(times)] + [step]
        for index, (time, duration) in enumerate(zip(times, durations, strict=True)):
            frame = image(index, size, pixel_format, noise)
            frame.pts, frame.time_base, frame.duration = time, time_base, duration
            for packet in video.encode(frame):
                packet.duration = duration if codec == "ffv1" else packet.duration
                out.mux(packet)
        out.mux(video.encode(None))
    return path


def _write_sound(out: Any, stream: Any, seconds: float) -> None:
    if stream is None:
        return
    samples = stream.codec_context.frame_size or 1024
    for start in range(0, int(seconds * 48000), samples):
        wave = np.sin(np.arange(start, start + samples) * 0.05).astype(np.float32) * 0.3
        frame = av.AudioFrame.from_ndarray(np.stack([wave, wave]), "fltp", "stereo")
        frame.sample_rate, frame.pts, frame.time_base = 48000, start, Fraction(1, 48000)
        out.mux(stream.encode(frame))
    out.mux(stream.encode(None))


def samples(frame: av.VideoFrame, pixel_format: str | None = None) -> list[np.ndarray]:
    """The bytes of each plane, without what fills up its lines."""
    name = pixel_format or frame.format.name
    if frame.format.name != name:
        frame = frame.reformat(format=name)
    kind = frame.format
    sample = 2 if max(part.bits for part in kind.components) > 8 else 1
    planes = []
    for plane in frame.planes:
        wide = kind.padded_bits_per_pixel // 8 if len(frame.planes) == 1 else sample
        wide = wide if len(frame.planes) != 2 or plane is frame.planes[0] else 2 * sample
        data = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
        planes.append(data[: plane.height, : plane.width * wide].copy())
        if name in ("bgr0", "rgb0", "0rgb", "0bgr"):
            planes[-1] = planes[-1].reshape(plane.height, -1, 4)[..., :3]
    return planes


def same(a: av.VideoFrame, b: av.VideoFrame) -> bool:
    """Whether two images hold the same samples, compared in the format of `a`."""
    pairs = zip(samples(a), samples(b, a.format.name), strict=True)
    return all(np.array_equal(x, y) for x, y in pairs)


def packets(path: Path, kind: str) -> list[tuple[Fraction | None, bytes]]:
    """Time and content of each packet of the first stream of a kind."""
    with av.open(str(path)) as container:
        stream = next(s for s in container.streams if s.type == kind)
        return [
            (None if p.pts is None else p.pts * p.time_base, bytes(p))
            for p in container.demux(stream)
            if p.size
        ]


def pass_through(source: Path, target: Path, **options: Any) -> tuple[Any, list[Any]]:
    """Copies a video frame by frame without touching any; gives its info and frames."""
    from unblur.video import create_video, open_video

    cut = {key: options[key] for key in ("start", "end") if key in options}
    with open_video(source, **cut) as reader:
        with create_video(target, reader.info, source=source, **options) as writer:
            frames = []
            for frame in reader:
                writer.write(frame)
                frames.append(frame)
        return reader.info, frames


def read_all(path: Path, **options: Any) -> tuple[Any, list[Any]]:
    """A video's info and all its frames."""
    from unblur.video import open_video

    with open_video(path, **options) as reader:
        return reader.info, list(reader)
