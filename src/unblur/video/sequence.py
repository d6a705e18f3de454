"""Images in a folder as a video: found, put in order, checked, and read one at a time."""

from __future__ import annotations

import fnmatch
import glob
import os
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal, NamedTuple

from unblur.contexts import Closing
from unblur.disk import recover
from unblur.errors import MediaError, UnblurWarning, UsageError
from unblur.video.decode import Damage
from unblur.video.frame import Frame
from unblur.video.images import READABLE, Decoded, is_animated, read_image
from unblur.video.info import ColorTags, StreamInfo, VideoInfo
from unblur.video.pixels.layout import STAND_INS, layout_of, native_format
from unblur.video.probe import MAX_PIXELS
from unblur.video.span import PAST_END
from unblur.video.timecode import Time, parse_time

Gaps = Literal["error", "hold", "skip"]
RATE = Fraction(24)
"""Frames per second of images, which do not say."""
_MOST_HELD = 100_000
_NUMBER = re.compile(r"%(0\d{1,2})?d")


class ImageFile(NamedTuple):
    """A file of a sequence."""

    path: Path
    number: int | None
    """The number in its name; None where names differ in more than a number."""


@dataclass(frozen=True)
class Images:
    """The files of a sequence in order. A file appears again where a gap is held."""

    files: tuple[ImageFile, ...]

    @property
    def first_number(self) -> int:
        """Number of the first file; 1 where files have none."""
        number = self.files[0].number
        return 1 if number is None else number


def is_sequence(path: str | os.PathLike[str]) -> bool:
    """Whether an input is read as images: a folder, a pattern, or a single image."""
    text = os.fspath(path)
    if os.path.isdir(text):
        return True
    if os.path.exists(text):
        return Path(text).suffix.lower() in READABLE and not is_animated(Path(text))
    name = os.path.basename(text)
    return bool(_NUMBER.search(name)) or glob.has_magic(name)


def find_images(path: str | os.PathLike[str], gaps: Gaps = "error") -> Images:
    """Lists the images of a folder, of a pattern such as `%05d.png` or `*.png`, or of one file.

    Names are ordered as people count (9 before 10). Where they differ in one number only, that
    number is the frame's, and every number from the first to the last has to be there.

    Args:
        path: folder, pattern or file. A file that exists is never taken for a pattern.
        gaps: what a missing number means: an error; `hold`: the image before stays; `skip`: the
            images move together.

    Raises:
        MediaError: there are no images, images of several kinds, or a number is missing.
    """
    given = Path(path)
    if given.is_file():
        return Images((ImageFile(given, None),))
    if given.is_dir():
        folder, wanted = given, None
    else:
        folder, wanted = given.parent, given.name
        if not folder.is_dir():
            raise MediaError(f"{folder} is not a folder: check the path of {given.name}")
    number = _NUMBER.search(wanted) if wanted else None
    recover(folder)
    try:
        names = sorted(
            (entry.name for entry in os.scandir(folder) if entry.is_file()), key=_natural
        )
    except OSError as error:
        raise MediaError(f"{folder} cannot be read: {error.strerror or error}") from error
    names = [name for name in names if not name.startswith(".")]
    if number and wanted:
        files = _numbered(folder, names, wanted, number)
    elif wanted:
        chosen = [name for name in names if fnmatch.fnmatchcase(name, wanted)]
        files = _with_numbers(folder, chosen)
    else:
        files = _with_numbers(folder, [n for n in names if Path(n).suffix.lower() in READABLE])
        kinds = sorted({file.path.suffix.lower() for file in files})
        if len(kinds) > 1:
            raise MediaError(
                f"{folder} holds images of several kinds ({', '.join(kinds)}):"
                f" choose with a pattern, for example {folder / '*'}{kinds[0]}"
            )
    if not files:
        raise MediaError(
            f"{given} matches no images; they are read from {', '.join(READABLE)} files"
        )
    return Images(tuple(_filled(files, gaps)))


def probe_sequence(
    path: str | os.PathLike[str], *, rate: Fraction = RATE, max_pixels: int = MAX_PIXELS
) -> VideoInfo:
    """Describes a sequence from its first image that decodes, and the number of files.

    Raises:
        MediaError: there is no such image.
        ResourceError: it has more than `max_pixels`.
    """
    images = find_images(path, "skip")
    return _describe(Path(path), images, _first(Path(path), images, max_pixels), rate)


class SequenceReader(Closing):
    """Reads a sequence of images; a context manager, and an iterator over `Frame`.

    Attributes:
        info: what the sequence holds; `container` is `sequence`.
        frames: how many frames will come.
        non_finite: colour values that were NaN or infinite, so far; see `frame.finite`.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        start: Time | str | None = None,
        end: Time | str | None = None,
        strict: bool = False,
        rate: Fraction = RATE,
        gaps: Gaps = "error",
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        """Finds the images and looks at the first one.

        Args:
            path: folder, pattern (`frames/%05d.png`, `frames/*.png`) or one image.
            start: first frame; times count from the first image.
            end: frame after the last one.
            strict: a damaged image is an error.
            rate: frames per second.
            gaps: see `find_images`.
            max_pixels: largest image that is read.

        Raises:
            MediaError: no images, or a gap.
            UsageError: the range is empty or begins past the end.
        """
        self._path = Path(path)
        self._rate = rate
        self._max_pixels = max_pixels
        self._damage = Damage(self._path, strict)
        self._profile: bytes | None = None
        self._images = find_images(path, gaps)
        self._range = _range(self._path, len(self._images.files), rate, start, end)
        first = _first(self._path, self._images, max_pixels)
        self.info = _describe(self._path, self._images, first, rate)
        self.frames = len(self._range)
        self.non_finite = 0

    def close(self) -> None:
        """Nothing stays open between two images."""

    @property
    def decode_failures(self) -> int:
        """Images that did not decode, or decoded with faults, so far."""
        return self._damage.lost + self._damage.damaged

    def __iter__(self) -> Iterator[Frame]:
        bad_images = 0
        for index in self._range:
            file = self._images.files[index].path
            try:
                decoded = read_image(file, self._max_pixels)
            except MediaError as error:
                self._damage.note(str(error), lost=True)
                continue
            if decoded.damage:
                self._damage.note(f"{file.name}: {decoded.damage}", lost=False)
            if decoded.matrix != self.info.display_matrix:
                raise MediaError(
                    f"{file} is turned or mirrored by its EXIF orientation in another way than the"
                    " images before it: turn its pixels, or restore them in parts"
                )
            frame = self._same_kind(file, self._frame(decoded, index))
            bad = frame.non_finite()
            self.non_finite += bad
            bad_images += bad > 0
            yield frame
        self._damage.warn()
        if self.non_finite:
            warnings.warn(
                f"{self._path}: {self.non_finite} values in {bad_images} images are NaN or"
                " infinite; the model saw NaN as 0 and infinity as the image's largest value",
                UnblurWarning,
                stacklevel=2,
            )

    def _frame(self, decoded: Decoded, index: int) -> Frame:
        decoded.image.pts = index
        decoded.image.time_base = 1 / self._rate
        siting: Literal["left", "center"] = "center" if decoded.codec == "mjpeg" else "left"
        if decoded.profile != self._profile:  # so that frames share one
            self._profile = decoded.profile
        beside = frozenset({"ICC profile"} if self._profile else ())
        base = 1 / self._rate
        return Frame(decoded.image, index, index, base, 1, siting, beside, self._profile)

    def _same_kind(self, file: Path, frame: Frame) -> Frame:
        """The frame in the first one's pixel format, which must be able to hold it."""
        info = self.info
        if (frame.width, frame.height) != (info.width, info.height):
            raise MediaError(
                f"{file} is {frame.width}x{frame.height} and the images before it are"
                f" {info.width}x{info.height}: bring all to one size, or restore them in parts"
            )
        name = frame.image.format.name
        if name == info.pixel_format:
            return frame
        own, first = layout_of(native_format(name)), layout_of(native_format(info.pixel_format))
        holds = (
            info.pixel_format not in STAND_INS
            and own.bits == first.bits
            and own.is_float == first.is_float
            and (first.family != "gray" or own.family == "gray")
            and (first.alpha is not None or own.alpha is None)
        )
        if not holds:
            raise MediaError(
                f"{file} is {_kind(name)} and the images before it are"
                f" {_kind(info.pixel_format)}: bring all to one kind, or restore them in parts"
            )
        return frame.converted(info.pixel_format)


def _numbered(
    folder: Path, names: list[str], wanted: str, number: re.Match[str]
) -> list[ImageFile]:
    """Files of a printf pattern with one %d or %05d."""
    before, after = wanted[: number.start()], wanted[number.end() :]
    if _NUMBER.search(after):
        raise UsageError(f"{folder / wanted} has more than one number: write one, such as %05d")
    width = int(number[1] or 0)
    files = []
    for name in names:
        digits = name[len(before) : len(name) - len(after)]
        if not (
            name.startswith(before) and name.endswith(after) and re.fullmatch("[0-9]+", digits)
        ):
            continue
        if digits == f"{int(digits):0{width}d}" and len(name) == len(before + digits + after):
            files.append(ImageFile(folder / name, int(digits)))
    return sorted(files, key=lambda file: file.number or 0)


def _with_numbers(folder: Path, names: list[str]) -> list[ImageFile]:
    """Files with the number by which alone their names differ, if it is so."""
    parts = [re.fullmatch(r"(.*?)([0-9]{1,15})([^0-9]*)", name, re.DOTALL) for name in names]
    frames = {(part[1], part[3]) for part in parts if part}
    numbers = [int(part[2]) for part in parts if part]
    numbered = len(frames) == 1 and len(set(numbers)) == len(names) > 1
    return [
        ImageFile(folder / name, int(part[2]) if numbered and part else None)
        for name, part in zip(names, parts, strict=True)
    ]


def _filled(files: list[ImageFile], gaps: Gaps) -> Iterator[ImageFile]:
    numbers = [file.number for file in files if file.number is not None]
    missing = numbers[-1] - numbers[0] + 1 - len(numbers) if numbers else 0
    if missing and gaps == "hold" and missing > max(_MOST_HELD, 10 * len(files)):
        raise MediaError(f"{files[0].path.parent} lacks {missing} numbers: too many to hold")
    before: ImageFile | None = None
    for file in files:
        if before is not None and missing and gaps != "skip":
            expected = (before.number or 0) + 1
            if gaps == "error" and file.number != expected:
                more = f" (the first of {missing} missing)" if missing > 1 else ""
                raise MediaError(
                    f"number {expected}{more} is missing in {file.path.parent}, between"
                    f" {before.path.name} and {file.path.name}: add it, or rename the"
                    " images (Python's open_video reads them with gaps='hold' or gaps='skip')"
                )
            for number in range(expected, file.number or 0):
                yield ImageFile(before.path, number)
        yield file
        before = file


def _natural(name: str) -> tuple[list[tuple[int, int, str]], str]:
    """Sort key by which 9 comes before 10; capitals do not matter unless all else is equal."""
    parts = re.findall(r"[0-9]+|[^0-9]+", name)
    key = [(0, int(p), "") if p[0] in "0123456789" else (1, 0, p.casefold()) for p in parts]
    return key, name


def _range(
    path: Path, count: int, rate: Fraction, start: Time | str | None, end: Time | str | None
) -> range:
    length = f"{path} has {count} images, {float(count / rate):.3f} s"

    def place(time: Time) -> int:
        if time.frame is not None:
            return time.frame
        return -int(-(time.seconds or 0) * rate // 1)

    first = 0
    if start is not None:
        first = place(parse_time(start))
        if first >= count:
            raise UsageError(f"{start} lies past the end: {length}")
    last = count
    if end is not None:
        last = place(parse_time(end))
        if last > count:
            warnings.warn(PAST_END.format(end=end, length=length), UnblurWarning, stacklevel=3)
            last = count
        if last <= first:
            raise UsageError(f"--end {end} is not after --start {start or 'f0'}: {length}")
    return range(first, last)


def _first(path: Path, images: Images, max_pixels: int) -> Decoded:
    """The first image that decodes."""
    failure: MediaError | None = None
    for file in images.files:
        try:
            return read_image(file.path, max_pixels)
        except MediaError as error:
            failure = failure or error
    if len(images.files) == 1 and failure is not None:
        raise failure
    raise MediaError(f"{path}: none of {len(images.files)} images decodes: {failure}")


def _describe(path: Path, images: Images, first: Decoded, rate: Fraction) -> VideoInfo:
    image, count = first.image, len(images.files)
    layout = layout_of(native_format(image.format.name))
    return VideoInfo(
        path=path,
        width=image.width,
        height=image.height,
        pixel_format=image.format.name,
        bit_depth=layout.bits,
        has_alpha=layout.alpha is not None,
        frame_rate=rate,
        time_base=1 / rate,
        frames=count,
        duration=float(count / rate),
        rotation=-image.rotation % 360 if first.matrix else 0,
        display_matrix=first.matrix,
        color=ColorTags.from_codes(
            image.colorspace,
            getattr(image, "color_primaries", 2),
            getattr(image, "color_trc", 2),
            image.color_range,
        ),
        streams=(StreamInfo(0, "video", first.codec),),
        codec=first.codec,
        container="sequence",
    )


def _kind(pixel_format: str) -> str:
    layout = layout_of(native_format(pixel_format))
    colors = "gray" if layout.family == "gray" else "colour"
    alpha = " with alpha" if layout.alpha is not None else ""
    unit = "bit float" if layout.is_float else "bit"
    return f"{layout.bits}-{unit} {colors}{alpha} ({pixel_format})"
