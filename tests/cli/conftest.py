"""Clips for the tests of the command line, made by PyAV alone."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest

RATE = 25


@pytest.fixture
def make_clip(tmp_path):
    """A function that writes a small clip of moving noise and gives its path."""

    def make(name, frames=10, size=(32, 24), codec="mpeg4", audio=False, video=True, rate=RATE):
        path = tmp_path / name
        rng = np.random.default_rng(0)
        still = rng.integers(0, 256, (size[1], size[0] + frames, 3), dtype=np.uint8)
        with av.open(str(path), "w") as file:
            if video:
                image = file.add_stream(codec, rate=rate)
                image.width, image.height = size
                image.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            if audio:
                sound = file.add_stream("aac", rate=48000)
            if video:
                for index in range(frames):
                    cut = np.ascontiguousarray(still[:, index : index + size[0]])
                    frame = av.VideoFrame.from_ndarray(cut, format="rgb24")
                    frame.pts, frame.time_base = index, Fraction(1, rate)
                    file.mux(image.encode(frame))
                file.mux(image.encode())
            if audio:
                for index in range(frames * 48000 // rate // 1024):
                    noise = rng.standard_normal((1, 1024)).astype(np.float32) / 10
                    tone = av.AudioFrame.from_ndarray(noise, format="fltp", layout="mono")
                    tone.rate, tone.pts = 48000, index * 1024
                    file.mux(sound.encode(tone))
                file.mux(sound.encode())
        return path

    return make
