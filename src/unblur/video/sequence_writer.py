"""A video as images in a folder: PNG, TIFF or OpenEXR."""

from __future__ import annotations

import os
import re
import shutil
import warnings
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np

from unblur.contexts import Closing
from unblur.disk import Staged, check_inputs, entries, hidden_name, put_file, recover
from unblur.errors import UnblurWarning, UsageError
from unblur.video.codecs import CONTAINERS
from unblur.video.frame import Frame, tag_transfer, transfer_of
from unblur.video.images import READABLE, WRITABLE, storage_format, write_image
from unblur.video.info import VideoInfo
from unblur.video.kept import PICTURES, Kept, write_whole
from unblur.video.output import full
from unblur.video.pixels.layout import layout_of, native_format
from unblur.video.profiles import fits, with_profile
from unblur.video.sequence import find_images

DEFAULT_NAME = "%05d"
_PATTERN = re.compile(r"%(0\d{1,2})?d")
_ROUNDED = Fraction(1, 500)
"""Seconds by which steps between frames differ where a container rounds their times."""
_HDR_CURVES = ("smpte2084", "arib-std-b67")
_SRGB, _LINEAR = "iec61966-2-1", "linear"


@dataclass(frozen=True)
class _Target:
    """Where images go."""

    folder: Path
    name: str
    """Name of an image, with one %d or %05d unless `single`."""
    codec: str
    single: bool


def is_sequence_output(path: str | os.PathLike[str], codec: str | None = None) -> bool:
    """Whether an output is written as images.

    It is for a pattern (`out/%05d.png`), a folder (a path that ends in `/`, or a folder that
    exists and is not called like a video), a single image (`out.png`), and a name without
    suffix that holds `%d`, or where `codec` is one of images.
    """
    text = os.fspath(path)
    suffix = _suffix(text)
    if suffix in CONTAINERS and not text.endswith(("/", os.sep)):
        return False
    if _is_folder(text) or suffix in WRITABLE:
        return True
    is_pattern = _PATTERN.search(os.path.basename(text)) is not None
    return not suffix and (is_pattern or codec in set(WRITABLE.values()))


def folder_for(path: str | os.PathLike[str], codec: str | None = None) -> Path | None:
    """The folder that the images of an output get to lie in; None for a single image."""
    target = _target(path, codec)
    return None if target.single else Path(os.path.realpath(target.folder))


class SequenceWriter(Closing):
    """Writes frames as images; a context manager.

    The images grow in a hidden folder and get their place when all are complete, see
    `unblur.disk`; leaving by an exception removes them. Images of more than 8 bits become 16-bit
    PNG or TIFF, and EXR holds linear light: 16-bit floats for sources of up to 10 bits and for
    those that are such floats, else 32-bit. Rotation and crop are baked in, images have no flags
    for them.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        info: VideoInfo,
        *,
        source: str | os.PathLike[str] | None = None,
        codec: str | None = None,
        inputs: Sequence[str | os.PathLike[str] | None] = (),
        overwrite: bool = False,
        kept: Kept | None = None,
    ) -> None:
        """Checks that the output may be written and makes room for it.

        Args:
            path: see `is_sequence_output`. Numbers are those of the source's images, and count
                from 1 where the source is a video.
            info: description of the source.
            source: what must not be overwritten, besides `info.path`.
            codec: `png`, `tiff` or `exr`; None follows the suffix, and is PNG without one.
            inputs: what else the run reads.
            overwrite: replace images that are there. Other files in their folder stay.
            kept: where the images grow, and stay if the job is interrupted.

        Raises:
            UsageError: the output exists, is the input, or cannot be made there.
        """
        self._info = info
        self._overwrite = overwrite
        self._target = target = _target(path, codec)
        self._first = _first_number(info)
        self.frames = 0
        self._profile_lost = False
        self._names: set[str] = set()
        self._kept = kept
        read = [Path(p) for p in (info.path, source, *inputs) if p is not None]
        _check(target, read, overwrite)
        own = native_format(info.pixel_format)
        layout = layout_of(own)
        self._half = layout.bits == 16 if layout.is_float else layout.bits <= 10
        self._last: Fraction | None = None
        self._step: Fraction | None = None
        self._uneven = False
        if not target.single:
            _warn_of_losses(info, target.codec)
        self._staged = None if target.single or kept is not None else Staged(target.folder)
        if self._staged is not None:
            self._temporary = self._staged.path
            return
        self._temporary = target.folder / hidden_name(target.name)
        if kept is not None:
            self._temporary = kept.folder / PICTURES
        try:
            self._temporary.mkdir(exist_ok=kept is not None)
        except OSError as error:
            raise UsageError(
                f"cannot write in {target.folder} ({error.strerror or error}): choose another"
                " folder"
            ) from error
        if kept is not None:
            self._take_up()

    def write(self, frame: Frame) -> None:
        """Writes one image, complete when this returns.

        Raises:
            ResourceError: the disk is full, or fails.
            UsageError: a second frame for a single image.
        """
        target = self._target
        if target.single and self.frames:
            raise UsageError(
                f"{target.folder / target.name} is one image and the input has more:"
                f" write to a pattern such as {Path(target.name).stem}/%05d{_suffix(target.name)}"
            )
        name = target.name if target.single else self._name(frame)
        stored = self._stored(frame)
        data = write_image(
            stored, target.codec, half=self._half, aspect=self._info.sample_aspect_ratio
        )
        if "ICC profile" in frame.beside:
            data = self._profiled(frame, stored, data)
        try:
            if self._kept is not None:
                self._kept.add_image(self.frames, name, data)
            else:
                write_whole(self._temporary / name, data)
        except OSError as error:
            raise full(self._target.folder / name, error) from error
        self._names.add(name)
        self.frames += 1
        if self._last is not None:
            step = frame.time - self._last
            self._step = step if self._step is None else self._step
            self._uneven |= abs(step - self._step) > _ROUNDED
        self._last = frame.time

    def close(self) -> None:
        """Gives the images their final place. Without any image nothing appears."""
        if not self._temporary.is_dir():
            return
        if not self.frames:
            self.abort()
            return
        folder, name = self._target.folder, self._target.name
        try:
            if self._target.single:
                put_file(self._temporary / name, folder / name, overwrite=self._overwrite)
                return
            others = _others(self._target, self._names) if self._overwrite else []
            if self._staged is None:
                self._staged = Staged(folder)
                self._staged.adopt(self._temporary)
                if self._kept is not None:
                    self._kept.note_result(self._staged.path / min(self._names))
            self._staged.put(overwrite=self._overwrite)
        except FileExistsError as error:
            raise UsageError(
                f"{folder / name} came to exist while it was being made: choose another name or"
                " add --overwrite"
            ) from error
        except OSError as error:
            raise full(folder, error) from error
        finally:
            self.abort()
        if self._uneven:
            warnings.warn(
                f"{self._info.path}: its frames come at uneven times, which images do not hold",
                UnblurWarning,
                stacklevel=2,
            )
        if others:
            warnings.warn(
                f"{folder} holds {len(others)} images beside the {self.frames} that were"
                f" written, {others[0]} among them: they stay; remove them if they are of an older"
                " run",
                UnblurWarning,
                stacklevel=2,
            )

    def abort(self) -> None:
        """Removes what was written and has no place yet, unless another job is to go on with it."""
        if self._staged is not None:
            self._staged.discard()
        elif self._kept is None:
            shutil.rmtree(self._temporary, ignore_errors=True)

    def _take_up(self) -> None:
        """Counts the images that an interrupted job had written, and removes the rest."""
        self._names.update([] if self._kept is None else self._kept.images())
        self.frames = len(self._names)
        for file in self._temporary.iterdir():
            if file.name not in self._names:
                file.unlink()

    def _name(self, frame: Frame) -> str:
        # An image keeps its number; frames of a video are counted.
        is_sequence = self._info.container == "sequence"
        number = self._first + (frame.index if is_sequence else self.frames)
        return _PATTERN.sub(lambda match: f"{number:{match[1] or ''}d}", self._target.name)

    def _profiled(self, frame: Frame, stored: av.VideoFrame, data: bytes) -> bytes:
        """The encoded image with the colour profile of its frame, where that still fits."""
        codec, kind = self._target.codec, native_format(stored.format.name)
        curve = transfer_of(stored) == transfer_of(frame.image)
        profile = frame.profile
        if profile and codec != "exr" and curve and fits(profile, layout_of(kind).family):
            return with_profile(codec, data, profile)
        if not self._profile_lost:
            self._profile_lost = True
            warnings.warn(
                f"{self._info.path}: its ICC profile is left out, {codec} images of {kind} cannot"
                " hold it: colours may look different",
                UnblurWarning,
                stacklevel=3,
            )
        return data

    def _stored(self, frame: Frame) -> av.VideoFrame:
        """The image in a format of the codec, in its light, cropped and upright."""
        image = frame.image
        transfer = transfer_of(image) or self._info.color.transfer
        if transfer is not None and transfer != transfer_of(image):
            tag_transfer(image, transfer)
        wanted = None
        if self._target.codec == "exr":
            wanted = _LINEAR
        elif transfer == _LINEAR:
            wanted = _SRGB
        name = storage_format(self._target.codec, image.format.name)
        turn, crop = turn_of(self._info), self._info.crop
        if turn is not None or crop is not None:
            name = native_format(name)  # palettes and single bits do not turn
        if layout_of(native_format(name)).family == "gray" and image.color_range == 1:
            frame = frame.converted("gbrapf32le")  # images have no limited range
        stored = frame.converted(name, wanted).image
        if turn is None and crop is None:
            return stored
        scale = frame.width // self._info.width
        sides = tuple(scale * side for side in crop or (0, 0, 0, 0))
        return _shown(stored, turn or Turn(False, False, False), sides)


def _warn_of_losses(info: VideoInfo, codec: str) -> None:
    """Names what images do not hold of a video."""
    others = ("audio", "subtitle", "data", "attachment")
    lost = [str(each) for each in info.streams if each.kind in others]
    color = info.color
    if codec != "png" and color.primaries not in (None, "bt709"):
        lost.append(f"primaries {color.primaries}")
    if codec == "tiff" and color.transfer in _HDR_CURVES:
        lost.append(f"transfer function {color.transfer}")
    if info.mastering_display is not None or info.content_light is not None:
        lost.append("HDR metadata")
    if lost:
        warnings.warn(
            f"{info.path}: {codec} images do not hold its {' and '.join(lost)}",
            UnblurWarning,
            stacklevel=4,
        )


def _target(path: str | os.PathLike[str], codec: str | None) -> _Target:
    text = os.fspath(path)
    given = Path(text)
    codecs = sorted(set(WRITABLE.values()))
    if codec is not None and codec not in codecs:
        raise UsageError(f"{codec!r} is no codec for images: use {', '.join(codecs)}")
    suffix = _suffix(given.name)
    if _is_folder(text) or not suffix:
        codec = codec or "png"
        ending = next(ending for ending, name in WRITABLE.items() if name == codec)
        if _PATTERN.search(given.name) and not _is_folder(text):
            return _Target(given.parent, given.name + ending, codec, False)
        return _Target(given, DEFAULT_NAME + ending, codec, False)
    if suffix not in WRITABLE:
        raise UsageError(f"{given.name}: images are written as {', '.join(WRITABLE)}, not {suffix}")
    if codec not in (None, WRITABLE[suffix]):
        raise UsageError(f"{given.name} is not the name of an image in {codec}: drop one of both")
    numbers = len(_PATTERN.findall(given.name))
    if numbers > 1:
        raise UsageError(f"{given.name} has more than one number: write one, such as %05d")
    return _Target(given.parent, given.name, WRITABLE[suffix], single=numbers == 0)


def _is_folder(text: str) -> bool:
    return text.endswith(("/", os.sep)) or os.path.isdir(text)


def _suffix(name: str) -> str:
    return Path(name).suffix.lower()


def _check(target: _Target, inputs: list[Path], overwrite: bool) -> None:
    """UsageError unless the output may be written, and harms no input."""
    final = target.folder / target.name if target.single else target.folder
    parent = Path(os.path.realpath(final)).parent
    if not parent.is_dir():
        raise UsageError(f"the folder {parent} does not exist: make it first")
    recover(target.folder)
    for given in inputs:
        read = given if given.exists() else given.parent
        same = final.exists() and read.exists() and os.path.samefile(read, final)
        image = read.is_file() and read.suffix.lower() in READABLE
        beside = os.path.dirname(os.path.realpath(read)) == os.path.realpath(final)
        inside = image and not target.single and beside
        if same or inside:
            raise UsageError(f"{final} is the input: write to another folder")
    if target.single:
        check_inputs(final, inputs)
        if final.is_dir():
            raise UsageError(f"{final} is a folder: name an image, or end the name with /")
        if final.exists() and not overwrite:
            raise UsageError(f"{final} exists: choose another name or pass --overwrite")
    elif final.exists() and not final.is_dir():
        raise UsageError(f"{final} is a file: name a folder for the images")
    elif final.is_dir() and not overwrite and entries(final):
        raise UsageError(
            f"{final} exists and is not empty: choose another folder or pass --overwrite"
        )


def _others(target: _Target, names: Collection[str]) -> list[str]:
    """Names of the target's pattern in its folder that are none of `names`."""
    if not target.folder.is_dir():
        return []
    return [name for name in _of_pattern(target, target.folder) if name not in names]


def _of_pattern(target: _Target, folder: Path) -> list[str]:
    """The names in a folder that are of the target's pattern."""
    return [name for name in entries(folder) if _number(target, name)]


def _number(target: _Target, name: str) -> str:
    """The number in a name of the target's pattern; empty for another name."""
    before, after = re.split(r"%(?:0\d{1,2})?d", target.name)
    found = re.fullmatch(re.escape(before) + "([0-9]+)" + re.escape(after), name)
    return found[1] if found else ""


def _first_number(info: VideoInfo) -> int:
    if info.container != "sequence":
        return 1
    return find_images(info.path, "skip").first_number


class Turn(NamedTuple):
    """How an image is to be shown: first rows become columns, then it is flipped."""

    across: bool
    flip_x: bool
    flip_y: bool


def turn_of(info: VideoInfo) -> Turn | None:
    """How frames of a video are to be turned and mirrored; None where they are shown as stored.

    The display matrix (ISO/IEC 14496-12, 6.2.2) puts (x, y) at (a x + c y, b x + d y). Turns by
    other than quarters are left alone.
    """
    if info.display_matrix is None:
        quarters = {90: (True, True, False), 180: (False, True, True), 270: (True, False, True)}
        turn = quarters.get(info.rotation)
        return None if turn is None else Turn(*turn)
    a, b, _, c, d = info.display_matrix[:5]
    if b == c == 0 and a and d:
        turn = (False, a < 0, d < 0)
    elif a == d == 0 and b and c:
        turn = (True, c < 0, b < 0)
    else:
        return None
    return Turn(*turn) if any(turn) else None


def _shown(image: av.VideoFrame, turn: Turn, crop: tuple[int, ...]) -> av.VideoFrame:
    """The image as it is to be shown: without its hidden sides, then turned."""
    layout = layout_of(image.format.name)
    across = turn.across
    top, bottom, left, right = crop
    width, height = image.width - left - right, image.height - top - bottom
    if across:
        width, height = height, width
    new = av.VideoFrame(width, height, image.format.name)
    for tag in ("colorspace", "color_range", "color_primaries", "color_trc"):
        with suppress(AttributeError):
            setattr(new, tag, getattr(image, tag))
    for old_plane, new_plane in zip(image.planes, new.planes, strict=True):
        words, step = np.dtype(layout.dtype), layout.color[0].step
        shape = (image.height, image.width, step // words.itemsize)
        strides = (old_plane.line_size, step, words.itemsize)
        old = np.ndarray(shape, words, old_plane, 0, strides)  # type: ignore[arg-type]
        shape = (height, width, shape[2])
        strides = (new_plane.line_size, step, words.itemsize)
        view = np.ndarray(shape, words, new_plane, 0, strides)  # type: ignore[arg-type]
        shown = old[top : image.height - bottom, left : image.width - right]
        shown = shown.swapaxes(0, 1) if across else shown
        view[...] = shown[:: -1 if turn.flip_y else 1, :: -1 if turn.flip_x else 1]
    new.pts, new.time_base = image.pts, image.time_base
    return new
