"""Renders the demo clip: a photograph and a signpost before it, shaken and blurred by hand.

Usage: python examples/make_demo.py [--out FOLDER] [--seed N]

A camera sensor adds up light while the shutter is open. So each frame is the mean of many
sub-frames in linear light, and its sharp truth is the sub-frame in the middle of the exposure.
The same seed gives the same images.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

HERE = Path(__file__).parent
WIDTH, HEIGHT = 640, 360
FRAMES, FPS = 36, 24
SUBFRAMES = 33  # odd: one of them is the middle of the exposure
EXPOSURE = 0.75  # of the time from one frame to the next
SHAKE = 6.5  # pixels a knot of the camera's path lies off its course, one sigma
SWAY = 3.0  # the same for the sign's own motion, on top of the camera's
KNOTS_PER_FRAME = 0.9  # one change of direction per frame or so, often while the shutter is open
MEDIA = {"demo_blurred.mp4": 15, "demo_sharp.mp4": 15}  # file name: H.264 quality (CRF)


def to_linear(encoded: np.ndarray) -> np.ndarray:
    """Light of sRGB values in [0, 1] (IEC 61966-2-1)."""
    low = encoded / 12.92
    return np.where(encoded <= 0.04045, low, ((encoded + 0.055) / 1.055) ** 2.4).astype(np.float32)


def to_srgb(linear: np.ndarray) -> np.ndarray:
    """The inverse of `to_linear`, as 8-bit values."""
    light = np.clip(linear, 0.0, 1.0)
    encoded = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.rint(encoded * 255).astype(np.uint8)


def photo(name: str) -> np.ndarray:
    """A photograph of this folder: (H, W, 3) RGB, linear light."""
    image = cv2.imread(str(HERE / "photos" / name))
    if image is None:
        raise SystemExit(f"examples/photos/{name} is missing: get it from the repository again")
    return to_linear(image[:, :, ::-1] / 255.0)


def signpost() -> np.ndarray:
    """A wooden arrow with writing, its edges soft: (H, W, 4), colours multiplied by alpha."""
    board = photo("board.jpg")
    height, width = board.shape[:2]
    scale = 8  # drawn larger, then averaged: soft edges
    left, right, tip, top, bottom = 6, width - 46, width - 7, 8, height - 9
    outline = np.array(
        [(left, top), (right, top), (tip, height / 2), (right, bottom), (left, bottom)]
    )
    alpha = np.zeros((height * scale, width * scale), np.uint8)
    cv2.fillPoly(alpha, [np.rint(outline * scale).astype(np.int32)], 255)
    paint = np.zeros_like(alpha)
    for text, x, y, size, thick in (
        ("WATERFALL", 18, 46, 0.95, 2),
        ("0.4 km", 18, 78, 0.80, 2),
        ("keep to the path", 19, 97, 0.42, 1),
    ):
        cv2.putText(
            paint,
            text,
            (x * scale, y * scale),
            cv2.FONT_HERSHEY_SIMPLEX,
            size * scale,
            255,
            thick * scale,
            cv2.LINE_AA,
        )
    alpha, paint = (
        cv2.resize(mask, (width, height), interpolation=cv2.INTER_AREA)[:, :, None] / 255.0
        for mask in (alpha, paint)
    )
    colour = board * (1 - paint) + np.float32([0.012, 0.010, 0.009]) * paint
    return np.dstack([colour * alpha, alpha]).astype(np.float32)


class Shake:
    """A smooth random path in the plane: a Catmull-Rom spline through random knots."""

    def __init__(self, random: np.random.Generator, sigma: float) -> None:
        knots = random.normal(size=(int(FRAMES * KNOTS_PER_FRAME) + 6, 2)) * sigma
        # A hand pulls back towards where it aims, so neighbours are only loosely tied.
        self.knots = knots.clip(-2 * sigma, 2 * sigma)

    def __call__(self, time: float) -> np.ndarray:
        """Position in pixels, (x, y), at `time` in frames."""
        place = time * KNOTS_PER_FRAME + 2
        i = int(np.floor(place))
        t = place - i
        a, b, c, d = self.knots[i - 1 : i + 3]
        return 0.5 * (
            2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * (b - c) + d - a) * t**3
        )


def place(layer: np.ndarray, angle: float, centre: np.ndarray, border: int) -> np.ndarray:
    """Draws `layer` turned by `angle` degrees with its middle at `centre` of a frame."""
    height, width = layer.shape[:2]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, 1.0)
    matrix[:, 2] += centre - ((width - 1) / 2, (height - 1) / 2)
    size = (WIDTH, HEIGHT)
    return cv2.warpAffine(layer, matrix, size, flags=cv2.INTER_LANCZOS4, borderMode=border)


def render(seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields (blurred, sharp) for each frame: (H, W, 3) uint8 RGB, sRGB encoded."""
    random = np.random.default_rng(seed)
    background, sign = photo("stream.jpg"), signpost()
    camera, roll, sway = Shake(random, SHAKE), Shake(random, 0.25), Shake(random, SWAY)
    middle = np.array([(WIDTH - 1) / 2, (HEIGHT - 1) / 2])

    def image(time: float) -> np.ndarray:
        shake, turn = camera(time), roll(time)
        back = place(background, turn[0], middle + shake, cv2.BORDER_REFLECT_101)
        drift = np.array([-170 + 2.2 * time, 70])  # the sign passes by slowly
        front = place(
            sign,
            -4 + turn[0] + turn[1],
            middle + shake + sway(time) + drift,
            cv2.BORDER_CONSTANT,
        )
        alpha = front[:, :, 3:].clip(0, 1)
        return (back * (1 - alpha) + front[:, :, :3]).clip(0, 1)

    for frame in range(FRAMES):
        light = np.zeros((HEIGHT, WIDTH, 3), np.float32)
        for k in range(SUBFRAMES):
            sub = image(frame + EXPOSURE * (k / (SUBFRAMES - 1) - 0.5))
            light += sub
            if k == SUBFRAMES // 2:
                sharp = sub
        yield to_srgb(light / SUBFRAMES), to_srgb(sharp)


class Writer:
    """An H.264 file that says how its colours are meant."""

    def __init__(self, path: Path, crf: int) -> None:
        self.file = av.open(str(path), "w")
        self.stream = stream = self.file.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        # One thread: the file does not depend on the number of cores.
        stream.options = {"crf": str(crf), "preset": "veryslow", "threads": "1"}
        stream.codec_context.time_base = Fraction(1, FPS)
        stream.codec_context.color_range = 1  # limited
        stream.codec_context.colorspace = 1  # BT.709
        stream.codec_context.color_primaries = 1  # BT.709
        stream.codec_context.color_trc = 13  # sRGB
        self.count = 0

    def write(self, rgb: np.ndarray) -> None:
        frame = av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(
            format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG"
        )
        frame.pts, frame.time_base = self.count, Fraction(1, FPS)
        self.count += 1
        self.file.mux(self.stream.encode(frame))

    def close(self) -> None:
        self.file.mux(self.stream.encode(None))
        self.file.close()


def main() -> None:
    """Renders both clips."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=HERE, help="folder of the two clips")
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    blurred, sharp = (Writer(options.out / name, crf) for name, crf in MEDIA.items())
    for pair in render(options.seed):
        for writer, rgb in zip((blurred, sharp), pair, strict=True):
            writer.write(rgb)
    blurred.close()
    sharp.close()
    print(f"{FRAMES} frames in {options.out / 'demo_blurred.mp4'} and demo_sharp.mp4")


if __name__ == "__main__":
    main()
