"""A video as pictures in a folder: PNG, TIFF or OpenEXR."""

from __future__ import annotations

import os
import re
import secrets
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import av
import numpy as np

from unblur.errors import UsageError
from unblur.video.codecs import CONTAINERS
from unblur.video.frame import Frame, tag_transfer, transfer_of
from unblur.video.info import VideoInfo
from unblur.video.kept import PICTURES, Kept, write_whole
from unblur.video.output import full
from unblur.video.pictures import READABLE, WRITABLE, storage_format, write_picture
from unblur.video.pixels.layout import layout_of, native_format
from unblur.video.sequence import find_pictures

DEFAULT_NAME = "%05d"
_PATTERN = re.compile(r"%(0\d{1,2})?d")
_SRGB, _LINEAR = "iec61966-2-1", "linear"


@dataclass(frozen=True)
class _Target:
    """Where pictures go."""

    folder: Path
    name: str
    """Name of a picture, with one %d or %05d unless `single`."""
    codec: str
    single: bool


def is_sequence_output(path: str | os.PathLike[str], codec: str | None = None) -> bool:
    """Whether an output is written as pictures.

    It is for a pattern (`out/%05d.png`), a folder (a path that ends in `/`, or a folder that
    exists and is not called like a video), a single picture (`out.png`), and a name without
    suffix that holds `%d`, or where `codec` is one of pictures.
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
    """The folder that the pictures of an output get to lie in; None for a single picture."""
    target = _target(path, codec)
    return None if target.single else Path(os.path.realpath(target.folder))


class SequenceWriter:
    """Writes frames as pictures; a context manager.

    The pictures grow in a hidden folder beside the final one, which gets its name when all are
    complete; leaving by an exception removes them. Pictures of more than 8 bits become 16-bit PNG
    or TIFF, and EXR holds linear light: 16-bit floats for sources of up to 10 bits and for those
    that are such floats, else 32-bit. A rotation flag is baked in, pictures have none.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        info: VideoInfo,
        *,
        source: str | os.PathLike[str] | None = None,
        codec: str | None = None,
        overwrite: bool = False,
        kept: Kept | None = None,
    ) -> None:
        """Checks that the output may be written and makes room for it.

        Args:
            path: see `is_sequence_output`. Numbers are those of the source's pictures, and count
                from 1 where the source is a video.
            info: description of the source.
            source: what must not be overwritten, besides `info.path`.
            codec: `png`, `tiff` or `exr`; None follows the suffix, and is PNG without one.
            overwrite: replace a sequence that is there. Other files in its folder stay.
            kept: where the pictures grow, and stay if the job is interrupted.

        Raises:
            UsageError: the output exists, is the input, or cannot be made there.
        """
        self._info = info
        self._overwrite = overwrite
        self._target = target = _target(path, codec)
        self._first = _first_number(info)
        self.frames = 0
        self._names: set[str] = set()
        self._kept = kept
        _check(target, [Path(p) for p in (info.path, source) if p is not None], overwrite)
        own = native_format(info.pixel_format)
        layout = layout_of(own)
        self._half = layout.bits == 16 if layout.is_float else layout.bits <= 10
        parent = target.folder if target.single else target.folder.parent
        stem = (target.name if target.single else target.folder.name)[:24]  # long names still fit
        self._temporary = parent / f".{stem}.{secrets.token_hex(4)}.part"
        if kept is not None:
            self._temporary = kept.folder / PICTURES
        try:
            self._temporary.mkdir(exist_ok=kept is not None)
        except OSError as error:
            raise UsageError(
                f"cannot write in {parent} ({error.strerror or error}): choose another folder"
            ) from error
        if kept is not None:
            self._take_up()

    def __enter__(self) -> SequenceWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    def write(self, frame: Frame) -> None:
        """Writes one picture, complete when this returns.

        Raises:
            ResourceError: the disk is full, or fails.
            UsageError: a second frame for a single picture.
        """
        target = self._target
        if target.single and self.frames:
            raise UsageError(
                f"{target.folder / target.name} is one picture and the input has more:"
                f" write to a pattern such as {Path(target.name).stem}/%05d{_suffix(target.name)}"
            )
        name = target.name if target.single else self._name(frame)
        data = write_picture(
            self._stored(frame),
            target.codec,
            half=self._half,
            aspect=self._info.sample_aspect_ratio,
        )
        try:
            write_whole(self._temporary / name, data)
        except OSError as error:
            raise full(self._target.folder / name, error) from error
        self._names.add(name)
        self.frames += 1

    def close(self) -> None:
        """Gives the pictures their final place. Without any picture nothing appears."""
        if not self._temporary.is_dir():
            return
        if not self.frames:
            self.abort()
            return
        folder = self._target.folder
        try:
            _check(self._target, [], self._overwrite)  # it may have come to exist since
        except UsageError:
            self.abort()
            raise
        try:
            if self._target.single:
                os.replace(self._temporary / self._target.name, folder / self._target.name)
                self._temporary.rmdir()
                return
            if folder.is_dir():
                with suppress(OSError):  # an empty folder makes way; others take the files
                    folder.rmdir()
            if folder.is_dir():
                self._move_into(folder)
            else:
                os.replace(self._temporary, folder)
        except OSError as error:
            self.abort()
            raise full(folder, error) from error

    def abort(self) -> None:
        """Removes everything that was written, unless another job is to go on with it."""
        if self._kept is not None:
            return
        shutil.rmtree(self._temporary, ignore_errors=True)

    def _take_up(self) -> None:
        """Counts the pictures that an interrupted job had written, and removes the rest."""
        found = {file.name for file in _sequence_files(self._target, self._temporary)}
        numbered = sorted((int(_number(self._target, name)), name) for name in found)
        for place, (number, name) in enumerate(numbered):
            if number != numbered[0][0] + place:
                break
            self._names.add(name)
        self.frames = len(self._names)
        for file in self._temporary.iterdir():
            if file.name not in self._names:
                file.unlink()

    def _move_into(self, folder: Path) -> None:
        """Replaces the sequence in `folder`; files that are none of it stay."""
        old = _sequence_files(self._target, folder)
        stale = [file for file in old if file.name not in self._names]
        for name in sorted(self._names):
            os.replace(self._temporary / name, folder / name)
        for file in stale:
            file.unlink()
        self._temporary.rmdir()

    def _name(self, frame: Frame) -> str:
        # A picture keeps its number; frames of a video are counted.
        is_sequence = self._info.container == "sequence"
        number = self._first + (frame.index if is_sequence else self.frames)
        return _PATTERN.sub(lambda match: f"{number:{match[1] or ''}d}", self._target.name)

    def _stored(self, frame: Frame) -> av.VideoFrame:
        """The picture in a format of the codec, in its light, upright."""
        picture = frame.picture
        transfer = transfer_of(picture) or self._info.color.transfer
        if transfer is not None and transfer != transfer_of(picture):
            tag_transfer(picture, transfer)
        wanted = None
        if self._target.codec == "exr":
            wanted = _LINEAR
        elif transfer == _LINEAR:
            wanted = _SRGB
        name = storage_format(self._target.codec, picture.format.name)
        turn = self._info.rotation
        if turn in (90, 180, 270):
            name = native_format(name)  # palettes and single bits do not turn
        if layout_of(native_format(name)).family == "gray" and picture.color_range == 1:
            frame = frame.converted("gbrapf32le")  # pictures have no limited range
        stored = frame.converted(name, wanted).picture
        return _turned(stored, turn) if turn in (90, 180, 270) else stored


def _target(path: str | os.PathLike[str], codec: str | None) -> _Target:
    text = os.fspath(path)
    given = Path(text)
    codecs = sorted(set(WRITABLE.values()))
    if codec is not None and codec not in codecs:
        raise UsageError(f"{codec!r} is no codec for pictures: use {', '.join(codecs)}")
    suffix = _suffix(given.name)
    if _is_folder(text) or not suffix:
        codec = codec or "png"
        ending = next(ending for ending, name in WRITABLE.items() if name == codec)
        if _PATTERN.search(given.name) and not _is_folder(text):
            return _Target(given.parent, given.name + ending, codec, False)
        return _Target(given, DEFAULT_NAME + ending, codec, False)
    if suffix not in WRITABLE:
        raise UsageError(
            f"{given.name}: pictures are written as {', '.join(WRITABLE)}, not {suffix}"
        )
    if codec not in (None, WRITABLE[suffix]):
        raise UsageError(f"{given.name} is not the name of a picture in {codec}: drop one of both")
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
    parent = final.parent
    if not parent.is_dir():
        raise UsageError(f"the folder {parent} does not exist: make it first")
    for given in inputs:
        read = given if given.exists() else given.parent
        same = final.exists() and read.exists() and os.path.samefile(read, final)
        picture = read.is_file() and read.suffix.lower() in READABLE
        inside = picture and not target.single and read.resolve().parent == final.resolve()
        if same or inside:
            raise UsageError(f"{final} is the input: write to another folder")
    if target.single:
        if final.is_dir():
            raise UsageError(f"{final} is a folder: name a picture, or end the name with /")
        if final.exists() and not overwrite:
            raise UsageError(f"{final} exists: choose another name or pass --overwrite")
    elif final.exists() and not final.is_dir():
        raise UsageError(f"{final} is a file: name a folder for the pictures")
    elif final.is_dir() and any(final.iterdir()) and not overwrite:
        raise UsageError(
            f"{final} exists and is not empty: choose another folder or pass --overwrite"
        )


def _sequence_files(target: _Target, folder: Path) -> list[Path]:
    """The files in a folder that bear names of the target's pattern."""
    return [file for file in folder.iterdir() if _number(target, file.name)]


def _number(target: _Target, name: str) -> str:
    """The number in a name of the target's pattern; empty for another name."""
    before, after = re.split(r"%(?:0\d{1,2})?d", target.name)
    found = re.fullmatch(re.escape(before) + "([0-9]+)" + re.escape(after), name)
    return found[1] if found else ""


def _first_number(info: VideoInfo) -> int:
    if info.container != "sequence":
        return 1
    return find_pictures(info.path, "skip").first_number


def _turned(picture: av.VideoFrame, turn: int) -> av.VideoFrame:
    """The picture turned clockwise by 90, 180 or 270 degrees."""
    layout = layout_of(picture.format.name)
    across = turn in (90, 270)
    width, height = picture.width, picture.height
    if across:
        width, height = height, width
    new = av.VideoFrame(width, height, picture.format.name)
    for tag in ("colorspace", "color_range", "color_primaries", "color_trc"):
        with suppress(AttributeError):
            setattr(new, tag, getattr(picture, tag))
    for old_plane, new_plane in zip(picture.planes, new.planes, strict=True):
        words, step = np.dtype(layout.dtype), layout.color[0].step
        shape = (picture.height, picture.width, step // words.itemsize)
        strides = (old_plane.line_size, step, words.itemsize)
        old = np.ndarray(shape, words, old_plane, 0, strides)  # type: ignore[arg-type]
        shape = (height, width, shape[2])
        strides = (new_plane.line_size, step, words.itemsize)
        view = np.ndarray(shape, words, new_plane, 0, strides)  # type: ignore[arg-type]
        view[...] = np.rot90(old, -turn // 90)
    new.pts, new.time_base = picture.pts, picture.time_base
    return new
