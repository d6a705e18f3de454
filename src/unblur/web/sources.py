"""Clips and projects: uploads, files in the operator's folders, and what jobs made.

A source is a folder `sources/ID` with `source.json` and, for an upload, the file itself under a
name that the server made. Files in folders stay where they are: their path is resolved each time.
"""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from unblur.errors import ResourceError, UsageError
from unblur.web.disk import made_of, new_id, records, remove, write_json
from unblur.web.places import PROJECT, extension, inside, is_video, shown
from unblur.web.settings import Settings

RECORD = "source.json"
PAINT = "paint"


@dataclass
class Source:
    """A clip or a project, as its record has it."""

    id: str
    kind: Literal["clip", "project"]
    name: str
    """For people; never used as a path."""
    place: str
    """Name of the file in its own folder; for a file elsewhere the path below `root`."""
    root: str | None = None
    """The operator's folder, or that of a job's results."""
    created: float = field(default_factory=time.time)
    used: float = field(default_factory=time.time)
    about: dict[str, Any] = field(default_factory=dict)
    """What a look at it found."""


@dataclass(frozen=True)
class Entry:
    """A line of a folder's list."""

    name: str
    kind: Literal["folder", "clip", "project"]
    path: str
    bytes: int | None = None


class Sources:
    """All of them."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.home = settings.home / "sources"
        self.known: dict[str, Source] = {}

    def load(self) -> None:
        """Reads the records; uploads that were cut off, which have none, are deleted."""
        self.home.mkdir(parents=True, exist_ok=True)
        for folder, content in records(self.home, RECORD):
            source = made_of(Source, content)
            if source is not None and source.id == folder.name:
                self.known[source.id] = source
        for folder in self.home.iterdir():
            if not os.path.lexists(folder / RECORD):
                remove(folder)

    def get(self, number: str, kind: str | None = None) -> Source:
        """The source of that number.

        Raises:
            KeyError: there is none, or none of that kind.
        """
        source = self.known[number]
        if kind not in (None, source.kind):
            raise KeyError(number)
        return source

    def folder(self, number: str) -> Path:
        """Its own folder."""
        return self.home / number

    def path(self, source: Source) -> Path:
        """Where it is, resolved now.

        Raises:
            UsageError: it is gone, or its folder is not allowed any more.
        """
        if source.root is None:
            return inside(self.folder(source.id), source.place)
        root = Path(source.root)
        if root not in self.settings.folders and self.settings.home not in root.parents:
            raise UsageError(f"{source.name} is in a folder that is not offered any more")
        return inside(root, source.place)

    def begin_upload(self, name: str) -> Source:
        """Room for an upload; it counts when `add` is called.

        Raises:
            UsageError: its extension is not that of a video.
            ResourceError: too many are kept.
        """
        if not is_video(name):
            raise UsageError(f"{shown(name)} is no video by its name: take .mp4, .mov, .mkv, ...")
        self._check_room()
        source = Source(new_id(), "clip", shown(name), f"source.{extension(name)}")
        self.folder(source.id).mkdir(parents=True)
        return source

    def add(self, source: Source) -> Source:
        """Keeps a source from now on."""
        folder = self.folder(source.id)
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / RECORD, asdict(source))
        self.known[source.id] = source
        return source

    def from_folder(self, number: int, relative: str) -> Source:
        """A video or a project in an operator's folder; the one known already, if it is.

        Raises:
            UsageError: there is nothing of that kind.
        """
        root = self.root(number)
        found = inside(root, relative)
        if found.is_dir():
            if not (found / PROJECT).is_file():
                raise UsageError(f"{shown(relative)} is no atlas project")
            return self._refer("project", shown(found.name), root, relative)
        if not is_video(found.name):
            raise UsageError(f"{shown(relative)} is no video by its name")
        return self._refer("clip", shown(found.name), root, relative)

    def from_job(self, out: Path, file: str, name: str, is_project: bool) -> Source:
        """A job's project, or a video that it made; a video outlives the job."""
        if is_project:
            return self._refer("project", name, out, file)
        self._check_room()
        made = inside(out, file)
        source = Source(new_id(), "clip", name, f"source.{extension(made.name)}")
        folder = self.folder(source.id)
        folder.mkdir(parents=True)
        try:
            os.link(made, folder / source.place)
        except OSError:
            shutil.copyfile(made, folder / source.place)
        return source

    def _refer(
        self, kind: Literal["clip", "project"], name: str, root: Path, relative: str
    ) -> Source:
        for each in self.known.values():
            if (each.kind, each.root, each.place) == (kind, str(root), relative):
                return each
        self._check_room()
        return Source(new_id(), kind, name, relative, str(root))

    def root(self, number: int) -> Path:
        """An operator's folder by its number.

        Raises:
            UsageError: there is none.
        """
        if not 0 <= number < len(self.settings.folders):
            raise UsageError("there is no such folder: choose from the list")
        return self.settings.folders[number]

    def listing(self, number: int, relative: str) -> list[Entry]:
        """Folders, videos and projects in an operator's folder; what leads out is left out."""
        root = self.root(number)
        found = inside(root, relative)
        if not found.is_dir():
            raise UsageError(f"{shown(relative)} is not a folder")
        entries = []
        for name in sorted(os.listdir(found), key=str.casefold)[:2000]:
            path = f"{relative}/{name}".strip("/")
            try:
                target = inside(root, path)
            except UsageError:
                continue
            if name.startswith("."):
                continue
            if target.is_dir():
                is_project = (target / PROJECT).is_file()
                entries.append(Entry(name, "project" if is_project else "folder", path))
            elif is_video(name):
                entries.append(Entry(name, "clip", path, target.stat().st_size))
        return entries

    def use(self, source: Source) -> None:
        """Notes that it was wanted now."""
        source.used = time.time()
        self.add(source)

    def delete(self, number: str) -> None:
        """Forgets it; a file in a folder stays."""
        del self.known[number]
        remove(self.folder(number))

    def sweep(self, oldest: float, needed: set[str]) -> None:
        """Deletes those that were last used before a time and that no job needs."""
        for source in list(self.known.values()):
            if source.used < oldest and source.id not in needed:
                self.delete(source.id)

    def jobs_used_since(self, oldest: float) -> set[str]:
        """Numbers of the jobs that made projects which were used after a time."""
        roots = [Path(s.root) for s in self.known.values() if s.root and s.used >= oldest]
        return {root.parent.name for root in roots if self.settings.home in root.parents}

    def _check_room(self) -> None:
        if len(self.known) >= self.settings.max_kept:
            raise ResourceError(f"{len(self.known)} clips are kept: delete some first")
