"""Restoring frames that a program holds, each clip by itself."""

from __future__ import annotations

from typing import Any

import torch

from unblur.commands.analyze import frames_of, look_for_blur
from unblur.commands.arrays import Given, taken_apart
from unblur.commands.first_pass import begin_look
from unblur.commands.reporting import restoring
from unblur.commands.request import Options, Request, request
from unblur.engine.run import find_shots
from unblur.progress import Job


def restore_frames(source: Any, options: Options) -> Any:
    """The restored frames in the form of `source`: see `unblur.restore`."""
    wanted, job = request(options), Job(options["progress"])
    torch.manual_seed(options["seed"])
    apart = taken_apart(source, unbounded=options["transfer"] == "linear")
    return apart.whole(
        [_restore_clip(clip, wanted, options["transfer"], job) for clip in apart.clips]
    )


def _restore_clip(clip: list[Given], wanted: Request, transfer: str | None, job: Job) -> list[Any]:
    height, width = clip[0].rgb().shape[-2:]
    size = height, width
    if wanted.by_shot:
        begin_look(wanted, job, size, len(clip))
        shots, kinds = look_for_blur(frames_of(clip), len(clip), transfer, wanted.device, job)
        work = wanted.runner_by_shot(job, size, shots, kinds, transfer)
        mixed = restoring(work.restore(clip), work, shots, len(clip), job)
        return [given.like(given.rgb() if rgb is None else rgb) for given, rgb in mixed]
    runner = wanted.runner(job, size, len(clip), transfer, wanted.focus(None))
    found = find_shots(clip) if runner.needs_shots else None
    restored = restoring(runner.restore(clip, found), runner, found, len(clip), job)
    return [given.like(rgb) for given, rgb in restored]
