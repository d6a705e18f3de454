"""How coarsely blocks were encoded, as H.264 tells it."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from unblur.video import open_video
from unblur.video.quantizer import quantizers


def write(path: Path, codec: str, options: dict[str, str], pixel_format: str) -> None:
    """Four frames of noise, 100 x 70."""
    random = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = 100, 70, pixel_format
        for _ in range(4):
            noise = random.integers(0, 255, (70, 100, 3), np.uint8)
            frame = av.VideoFrame.from_ndarray(noise, format="rgb24")
            container.mux(stream.encode(frame.reformat(format=pixel_format)))
        container.mux(stream.encode(None))


@pytest.mark.parametrize(
    ("pixel_format", "deeper"), [("yuv420p", 0), ("yuv420p10le", 12)], ids=["8 bits", "10 bits"]
)
@pytest.mark.parametrize("constant", [20, 35])
def test_a_constant_quantizer_is_read(
    constant: int, pixel_format: str, deeper: int, tmp_path: Path
) -> None:
    path = tmp_path / "a.mp4"
    # x264 counts from the finest of the bit depth, and encodes key frames three finer.
    options = {"qp": str(constant + deeper), "preset": "veryfast"}
    write(path, "libx264", options, pixel_format)
    with open_video(path) as video:
        found = [frame.quantizers() for frame in video]
    assert len(found) == 4
    for n, each in enumerate(found):
        assert each is not None
        assert each.shape == (5, 7)
        assert each.unique().tolist() == [constant - 3 * (n == 0)]


def test_other_codecs_tell_none(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    write(path, "ffv1", {}, "yuv420p")
    with open_video(path) as video:
        assert [frame.quantizers() for frame in video] == [None] * 4


def test_an_image_that_nothing_was_noted_of_tells_none() -> None:
    assert quantizers(av.VideoFrame(64, 48, "yuv420p")) is None
