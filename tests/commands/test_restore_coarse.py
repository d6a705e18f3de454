"""Whole jobs on files that an encoder left little of: less of what a model makes is taken."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

import unblur
from unblur.ops.trust import LEAST

WIDTH, HEIGHT, FRAMES = 72, 60, 3
"""No multiples of a macroblock."""


def write(path: Path, codec: str, options: dict[str, str]) -> None:
    """A coarse pattern that moves."""
    pattern = np.random.default_rng(0).integers(0, 255, (14, 18, 3), np.uint8)
    large = pattern.repeat(8, 0).repeat(8, 1)
    with av.open(str(path), "w") as file:
        stream = file.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for i in range(FRAMES):
            shown = np.ascontiguousarray(large[i : i + HEIGHT, 3 * i : 3 * i + WIDTH])
            image = av.VideoFrame.from_ndarray(shown, format="rgb24").reformat(format="yuv420p")
            file.mux(stream.encode(image))
        file.mux(stream.encode(None))


def job(path: Path, model: str, deinterlace: bool) -> np.ndarray:
    """Frames (T, H, W, 3) that come out."""
    out = path.with_name(f"{model}.mkv")
    unblur.restore(
        path, out, model=model, codec="ffv1", fuse="off", deinterlace=deinterlace, overwrite=True
    )
    with av.open(str(out)) as file:
        images = [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]
    return np.stack(images).astype(float)


@pytest.mark.parametrize(
    ("name", "codec", "options", "share"),
    [
        ("a.webm", "libvpx-vp9", {"qmin": "63", "qmax": "63", "crf": "63", "b": "0"}, LEAST),
        ("a.mpg", "mpeg2video", {"qmin": "28", "qmax": "28", "non_linear_quant": "1"}, 0.563),
        (
            "fields.mpg",
            "mpeg2video",
            {"qmin": "28", "qmax": "28", "non_linear_quant": "1", "flags": "+ildct+ilme"},
            0.563,
        ),
        ("a.mkv", "libx265", {"crf": "45", "x265-params": "log-level=none"}, LEAST),
    ],
)
def test_so_much_of_a_change_is_taken(
    name: str,
    codec: str,
    options: dict[str, str],
    share: float,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / name
    write(path, codec, options)
    fields = name.startswith("fields")
    before = job(path, "none", fields)
    after = job(path, "motion-s", fields)
    monkeypatch.setattr("unblur.engine.guard.trust", lambda *_: None)
    whole = job(path, "motion-s", fields)
    assert len(before) == len(after) == FRAMES
    # FFmpeg notes nothing of the last frame of MPEG-2.
    change, taken = (x[: FRAMES - 1] - before[: FRAMES - 1] for x in (whole, after))
    assert np.abs(change).max() > 8
    assert (taken * change).sum() / (change * change).sum() == pytest.approx(share, abs=0.03)
