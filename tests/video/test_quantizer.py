"""How coarsely blocks were encoded, on the scale of H.264."""

from __future__ import annotations

import struct
from pathlib import Path
from unittest.mock import patch

import av
import numpy as np
import pytest
import torch

from unblur.video import open_video
from unblur.video.quantizer import H264, VP9, quantizers, stated, vp9_steps


def write(
    path: Path,
    codec: str,
    options: dict[str, str],
    pixel_format: str = "yuv420p",
    size: tuple[int, int] = (100, 70),
    gray: float = 0,
) -> None:
    """Four frames of noise, the lowest part of it gray."""
    random = np.random.default_rng(0)
    width, height = size
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, pixel_format
        for _ in range(4):
            image = random.integers(0, 255, (height, width, 3), np.uint8)
            image[round((1 - gray) * height) :] = 128
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            container.mux(stream.encode(frame.reformat(format=pixel_format)))
        container.mux(stream.encode(None))


def read(path: Path, deinterlace: bool = False) -> list[torch.Tensor | None]:
    with open_video(path, deinterlace=deinterlace) as video:
        return [frame.quantizers() for frame in video]


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
    found = read(path)
    assert len(found) == 4
    for n, each in enumerate(found):
        assert each is not None
        assert each.shape == (5, 7)
        assert each.unique().tolist() == [constant - 3 * (n == 0)]


@pytest.mark.parametrize(
    ("quantizer", "index", "step"), [(20, 80, 87), (63, 255, 1828)], ids=["fine", "coarsest"]
)
def test_steps_of_vp9_are_read(quantizer: int, index: int, step: int, tmp_path: Path) -> None:
    assert vp9_steps()[index] == step
    path = tmp_path / "a.webm"
    limits = {"qmin": str(quantizer), "qmax": str(quantizer), "crf": str(quantizer), "b": "0"}
    write(path, "libvpx-vp9", {**limits, "cpu-used": "8"})
    found = read(path)
    assert len(found) == 4
    for each in found:
        assert each is not None
        # Twice the step is 6 more; coefficients are 8 times those that keep sums of squares.
        wanted = min(51, 6 * np.log2(step / 8 / 0.625))
        torch.testing.assert_close(each, torch.full((5, 7), wanted, dtype=torch.float32))


def test_each_block_of_vp9_has_the_quantizer_of_its_segment(tmp_path: Path) -> None:
    path = tmp_path / "a.webm"
    options = {"crf": "40", "b": "0", "aq-mode": "1", "cpu-used": "5"}
    write(path, "libvpx-vp9", options, size=(330, 250), gray=0.5)
    first = read(path)[0]
    assert first is not None
    assert first.shape == (16, 21)
    assert float(first[:7].min()) > float(first[9:].max())  # noise bears coarser blocks


@pytest.mark.parametrize(
    ("codec", "name", "interlaced"),
    [
        *(("mpeg1video", "a.mpg", False), ("mpeg2video", "a.mpg", False)),
        *(("mpeg2video", "a.mpg", True), ("mpeg4", "a.avi", False), ("mpeg4", "a.avi", True)),
        *(("msmpeg4v2", "a.avi", False), ("msmpeg4", "a.avi", False), ("wmv1", "a.asf", False)),
        *(("wmv2", "a.asf", False), ("flv", "a.flv", False)),
    ],
)
@pytest.mark.parametrize("scale", [5, 31])
def test_steps_of_mpeg_are_read(
    scale: int, codec: str, name: str, interlaced: bool, tmp_path: Path
) -> None:
    path = tmp_path / name
    flags = {"flags": "+ildct+ilme"} if interlaced else {}
    write(path, codec, {"qmin": str(scale), "qmax": str(scale), **flags})
    found = read(path, interlaced)
    assert len(found) == 4
    # Three more than that of H.264 with this step.
    wanted = 6 * np.log2(2 * scale / 0.625) + 3
    for n, each in enumerate(found):
        if n == 3 and codec in ("mpeg1video", "mpeg2video"):
            # FFmpeg notes nothing of the frame that it holds back until the end.
            continue
        assert each is not None
        torch.testing.assert_close(each, torch.full((5, 7), wanted, dtype=torch.float32))


def test_uneven_steps_of_mpeg2_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.mpg"
    write(path, "mpeg2video", {"qmin": "28", "qmax": "28", "non_linear_quant": "1"})
    first = read(path)[0]
    assert first is not None
    # The 28th of the table in H.262, 7.4.2.2.
    torch.testing.assert_close(first, torch.full((5, 7), 6 * np.log2(88 / 0.625) + 3).float())


def test_other_codecs_tell_none(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    write(path, "ffv1", {})
    assert read(path) == [None] * 4


def test_an_image_that_nothing_was_noted_of_tells_none() -> None:
    assert quantizers(av.VideoFrame(64, 48, "yuv420p")) is None


@pytest.mark.parametrize("name", ["a.mkv", "a.mp4"])
def test_a_rate_factor_of_x265_counts_for_all_frames(name: str, tmp_path: Path) -> None:
    coarse = {}
    for factor in (20.5, 36.5):
        path = tmp_path / name
        write(path, "libx265", {"crf": str(factor), "x265-params": "log-level=none"})
        found = read(path)
        assert len(found) == 4
        for each in found:
            assert each is not None
            assert each.shape == (5, 7)
        coarse[factor] = found[0].unique().tolist()
        assert all(each.unique().tolist() == coarse[factor] for each in found)
    (fine,), (rough,) = coarse.values()
    assert rough - fine == 16


def test_a_rate_of_bits_tells_no_quantizer(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    write(path, "libx265", {"b": "100000", "x265-params": "log-level=none"})
    assert read(path) == [None] * 4


def test_what_another_codec_says_of_x265_is_not_believed() -> None:
    header = b"x265 (build 1) - 4: options: rc=crf crf=40.0 qcomp=0.60"
    assert stated("hevc", header, 16, 16) is not None
    assert stated("ffv1", header, 16, 16) is None
    assert stated("hevc", None, 16, 16) is None


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_frames_that_wait_on_disk_keep_them(codec: str, tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    write(path, codec, {"crf": "40"})
    with open_video(path) as video:
        for frame in video:
            words, rebuild = frame.packed()
            again = rebuild(words)
            torch.testing.assert_close(again.quantizers(), frame.quantizers())
            torch.testing.assert_close(again.rgb(), frame.rgb())
            held = [cell.cell_contents for cell in rebuild.__closure__]
            assert not [x for x in held if isinstance(x, torch.Tensor | np.ndarray | list)]


def noted(
    kind: int,
    base: int,
    *blocks: tuple[int, int, int, int, int],
    count: int | None = None,
    pixel_format: str = "yuv420p",
) -> torch.Tensor | None:
    """What is read of an image of 33 x 17 pixels that this was noted of, true or not."""
    head = struct.pack("@IQQii", len(blocks) if count is None else count, 32, 20, kind, base)
    notes = head + b"".join(struct.pack("@5i", *block) for block in blocks)
    with patch("unblur.video.quantizer.side_data", return_value={"VIDEO_ENC_PARAMS": notes}):
        return quantizers(av.VideoFrame(33, 17, pixel_format))


def test_blocks_count_where_they_lie_in_the_image() -> None:
    far = 2**31 - 1
    found = noted(H264, 20, (16, 0, 32, 16, 5), (-far, 0, far, far, 9), (far, 0, far, 16, 9))
    assert found is not None
    assert found.tolist() == [[20, 25, 25], [20, 20, 20]]


def test_values_stay_on_the_scale() -> None:
    fine = noted(H264, -9, (0, 0, 16, 16, 5), pixel_format="yuv420p10le")
    coarse = noted(H264, 40, (0, 0, 16, 16, 2**31 - 1))
    assert fine is not None
    assert coarse is not None
    assert fine.unique().tolist() == [0]
    assert coarse.unique().tolist() == [40, 51]


def test_notes_that_are_cut_off_tell_nothing() -> None:
    assert noted(VP9, 100, (0, 0, 16, 16, 5), count=2) is None
    assert noted(7, 100) is None


@pytest.mark.parametrize("factor", ["-1", "nan", "1e9", "28.", ""])
def test_a_rate_factor_that_is_none_tells_nothing(factor: str) -> None:
    header = f"x265 (build 1) - 4: options: rc=crf crf={factor} qcomp=0.60"
    assert stated("hevc", header.encode(), 16, 16) is None


def test_only_the_beginning_of_a_huge_header_is_searched() -> None:
    header = b"x265 (build 1) - 4: options: rc=crf crf=40.0 qcomp=0.60"
    assert stated("hevc", bytes(2**17) + header, 16, 16) is not None
    assert stated("hevc", bytes(2**20) + header, 16, 16) is None


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_other_colours_have_none(codec: str, tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    write(path, codec, {"crf": "40"})
    with open_video(path) as video:
        frame = next(iter(video))
    assert frame.quantizers() is not None
    assert frame.with_rgb(torch.zeros(3, 140, 200)).quantizers() is None
    words, rebuild = frame.packed()
    assert rebuild(words).with_rgb(frame.rgb()).quantizers() is None
