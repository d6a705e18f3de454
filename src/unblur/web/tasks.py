"""What each kind of job does, in its own process."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import unblur
from unblur.commands.unfinished import fingerprint, leftovers, remove
from unblur.errors import ResourceError, UsageError
from unblur.progress import Plan, Progress
from unblur.video import VideoInfo, open_video
from unblur.web.desk import Desk
from unblur.web.disk import read_json, write_json
from unblur.web.disk import remove as remove_folder
from unblur.web.looking import clip_info, shut_other_containers
from unblur.web.views import encode, shown, write_view

PREVIEW_SECONDS = 2
TRIAL_FRAMES = 300
"""That a trial compares at most."""
VIEW_PACE = 8e-8
"""Seconds a pixel that a view is expected to take, before the first one was timed."""
VIDEO = "video/mp4"
TYPES = {"mp4": VIDEO, "mov": "video/quicktime", "mkv": "video/x-matroska", "webm": "video/webm"}
BEAT = 0.2
"""Seconds between progress events, at least."""
LAST_WORKER = 30.0
"""Seconds that the worker of a server that was killed may take to end."""
RESTORED = "restored.json"
"""What was done, once a result is complete: after a restart only the rest remains to be done."""
CLIP = "clip.json"
"""Which clip what was done is of."""


def do(desk: Desk) -> dict[str, Any]:
    """Does the job; what is to be said in the end."""
    shut_other_containers()
    return KINDS[desk.request["kind"]](desk)


class Bar:
    """One share of the whole job, by time.

    Args:
        desk: whom to tell.
        later: seconds that what comes after `listen` is expected to take.
    """

    def __init__(self, desk: Desk, later: float = 0.0) -> None:
        self.desk, self.later = desk, later
        self.began, self.said, self.share = time.monotonic(), 0.0, 0.0
        self.credit = 0.0
        """Seconds that were spent on what is done, before this worker began."""
        self.planned: Plan | None = None

    def listen(self, now: Progress) -> None:
        """Takes the progress of a job of unblur."""
        if now.plan is not None and now.plan is not self.planned:
            self.planned = now.plan
            self.desk.tell("plan", **vars(now.plan))
        left = None if now.eta is None else now.eta + self.later
        if now.eta and now.share is not None and now.share < 1:
            self.credit = max(0.0, now.eta * now.share / (1 - now.share) - now.seconds)
        self.at(now.stage, now.done, now.total, left)

    def at(self, stage: str, done: int, total: int | None, left: float | None) -> None:
        """Tells where the job stands, not too often."""
        clock = time.monotonic()
        if left is not None:
            spent = clock - self.began + self.credit
            self.share = max(self.share, spent / max(1e-9, spent + left))
        if clock - self.said < BEAT:
            if self.desk.stopped.is_set():
                raise KeyboardInterrupt
            return
        self.said = clock
        self.desk.tell(
            "progress",
            stage=stage,
            done=done,
            total=total,
            left=left,
            share=None if left is None and self.share == 0 else self.share,
            seconds=clock - self.began,
        )

    def steps(self, stage: str, later: float = 0.0) -> Callable[[int, int | None], None]:
        """Listens to work that counts what it has done, and after which there is more."""
        began = time.monotonic()

        def count(done: int, total: int | None) -> None:
            each = (time.monotonic() - began) / max(1, done)
            self.at(stage, done, total, None if total is None else each * (total - done) + later)

        return count


def checked(desk: Desk) -> VideoInfo:
    """What the clip is, if it is within the limits.

    Raises:
        MediaError: it cannot be read.
        ResourceError: it is larger than allowed.
    """
    return clip_info(desk.source, desk.limits["max_pixels"], desk.limits["max_frames"])


def analyze(desk: Desk) -> dict[str, Any]:
    """How the clip is blurred: `analysis.json`, and a page."""
    from unblur.commands.report import page

    checked(desk)
    r = desk.request
    found = unblur.analyze(
        desk.source,
        start=r["start"],
        end=r["end"],
        device=desk.limits["device"],
        estimate=r["estimate"],
        progress=Bar(desk).listen,
    )
    found = replace(found, path=Path(desk.name))
    write_text(desk, "analysis.json", json.dumps(found.facts()), "analysis", "application/json")
    lines = [f"{found.count} frames of {found.width}x{found.height}, blur: {found.kind}"]
    write_text(desk, "report.html", page(found, lines), "report", "text/html")
    return {"blur": found.kind}


def estimate(desk: Desk) -> dict[str, Any]:
    """Time and memory that restoring would take, by a short run."""
    from unblur.commands.cost import cost_as_chosen, cost_of, models_for
    from unblur.ops.device import choose_device
    from unblur.restorers.registry import preset

    info, r = checked(desk), desk.request
    size = info.height, info.width
    where = desk.limits["device"]
    name, kinds = r["model"], r["kinds"]
    frames = sum(kinds.values()) if kinds else frames_in(desk, info)
    kinds = kinds or {"motion": frames}
    passes = preset(name).info.passes_through or (name == "auto" and not models_for(kinds, "best"))
    facts = {"device": str(choose_device(where)), "frames": frames}
    if passes or r["strength"] == 0:
        return {"seconds": 0.0, "memory": 0, "model": "none", **facts}
    limit = desk.limits["max_memory"]
    if name == "auto":
        found = cost_as_chosen(kinds, r["quality"], size, where, limit)
    else:
        found = cost_of({name: frames}, size, where, limit)
    return {"seconds": found.seconds, "memory": found.memory, "model": found.model, **facts}


def frames_in(desk: Desk, info: VideoInfo) -> int:
    """Frames of the part that is wanted; counted where nothing says it."""
    r = desk.request
    with open_video(
        desk.source, start=r["start"], end=r["end"], deinterlace=info.interlaced
    ) as reader:
        return reader.frames if reader.frames is not None else sum(1 for _ in reader)


def restore(desk: Desk) -> dict[str, Any]:
    """The clip restored, copies of both to play, a page with a slider, a report."""
    r, info = desk.request, checked(desk)
    begin_anew_if_replaced(desk)
    result = f"result.{r['container']}"
    facts, part = restored(
        desk, info, result, r["start"], r["end"], codec=r["codec"], crf=r["crf"], scale=r["scale"]
    )
    desk.made(result, "result", TYPES[r["container"]])
    frames = facts["frames"]
    pages(desk, desk.source, desk.out / result, r["start"], r["end"], frames, facts)
    return {**facts, **part}


def preview(desk: Desk) -> dict[str, Any]:
    """Two seconds restored, and copies of both to play."""
    r, info = desk.request, checked(desk)
    rate = info.frame_rate or 25
    begin = r["at"]
    stop = begin + max(1, round(PREVIEW_SECONDS * rate))
    if info.frames is not None:
        stop = min(stop, info.frames)
        if begin >= stop:
            raise UsageError(f"frame {begin} is past the end: the clip has {info.frames}")
    facts, part = restored(desk, info, "after.mkv", f"f{begin}", f"f{stop}", codec="ffv1")
    (desk.out / "after.mkv").unlink()
    return {**facts, **part, "at": begin}


def restored(
    desk: Desk, info: VideoInfo, result: str, start: str | None, end: str | None, **options: Any
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Restores a part and writes both views; what was done, and what the views are."""
    r = desk.request
    pixels = (info.frames or 100) * info.width * info.height
    bar = Bar(desk, later=2 * VIEW_PACE * pixels)
    facts = read_json(desk.out / RESTORED) if (desk.out / result).is_file() else None
    if facts is None or "frames" not in facts:
        report = gone_on_with(
            desk,
            desk.source,
            desk.out / result,
            deinterlace=r["deinterlace"],
            start=start,
            end=end,
            progress=bar.listen,
            **options,
        )
        facts = {
            k: v if isinstance(v, int | float | str | None) else str(v)
            for k, v in vars(report).items()
            if k != "output"
        }
        write_json(desk.out / RESTORED, facts)
    part = views(
        desk,
        bar,
        facts["frames"],
        before=(desk.source, start, end, r["deinterlace"]),
        after=(desk.out / result, None, None, False),
    )
    return facts, part


def begin_anew_if_replaced(desk: Desk) -> None:
    """Removes what was done before of another clip, which lay in the same place."""
    now = {"fingerprint": fingerprint(desk.source)}
    if read_json(desk.out / CLIP) != now:
        for each in desk.out.iterdir():
            remove_folder(each) if each.is_dir() else each.unlink()
        write_json(desk.out / CLIP, now)


def gone_on_with(desk: Desk, source: Path, target: Path, **options: Any) -> unblur.Report:
    """Restores as was requested, and goes on where a worker of a server that stopped left off.

    Args:
        desk: the request and limits.
        source: the clip.
        target: the result.
        **options: those of `unblur.restore` beside.
    """
    until = time.monotonic() + LAST_WORKER
    while any(left.at_work for left in leftovers(target)) and time.monotonic() < until:
        time.sleep(BEAT)
    r = {name: desk.request[name] for name in ("model", "quality", "strength")}
    limits = {name: desk.limits[name] for name in ("device", "max_memory")}
    chosen = {**r, **limits, "overwrite": True, "resume": True, **options}
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".* is kept: run the same command")
            try:
                return unblur.restore(source, target, **chosen)
            except UsageError:
                # What was done may not fit any more: unblur may be another version.
                unfit = leftovers(target)
                if not unfit:
                    raise
                for left in unfit:
                    remove(left)
                return unblur.restore(source, target, **chosen)
    except Exception:
        if leftovers(target):
            desk.tell("warning", message="what was done is kept: begun again, the job goes on")
        raise


View = tuple[Path, str | None, str | None, bool]


def views(desk: Desk, bar: Bar, frames: int, **clips: View) -> dict[str, Any]:
    """Writes `NAME.mp4` for each clip; frames a second."""
    rate: float | None = None
    began, done = time.monotonic(), 0
    whole = frames * len(clips)
    for name, (path, start, end, deinterlace) in clips.items():

        def tick(count: int, before: int = done) -> None:
            each = (time.monotonic() - began) / (before + count)
            bar.at("copies to play", before + count, whole, each * (whole - before - count))

        target = desk.out / f"{name}.mp4"
        count, rate = write_view(
            path, target, start=start, end=end, deinterlace=deinterlace, tick=tick
        )
        done += count
        desk.made(target.name, name, VIDEO)
    return {"rate": rate}


def pages(
    desk: Desk,
    before: Path,
    after: Path,
    start: str | None,
    end: str | None,
    frames: int,
    facts: dict[str, Any],
) -> None:
    """`compare.html`, a page of the middle frame with a slider, and `report.json`."""
    from unblur.engine.compare import slider_page

    r = desk.request
    middle = frames // 2
    pair = []
    for path, first, last in ((before, start, end), (after, None, None)):
        with open_video(path, start=first, end=last, deinterlace=r["deinterlace"]) as reader:
            frame = next(frame for n, frame in enumerate(reader) if n == middle)
            turns = reader.info.rotation // 90
            pair.append(shown(frame.rgb(), reader.info.color).rot90(-turns, (1, 2)))
    title = f"{desk.name}, frame {middle}, {facts['model']}"
    write_text(desk, "compare.html", slider_page(pair[0], pair[1], title), "page", "text/html")
    report = {"clip": desk.name, "request": r, "result": facts, "version": unblur.__version__}
    write_text(desk, "report.json", json.dumps(report, indent=2), "report", "application/json")


def fit(desk: Desk) -> dict[str, Any]:
    """An atlas project of the clip; cut off, it goes on where it was."""
    from unblur.atlas.fitting.fit import Status
    from unblur.atlas.fitting.take import fit as take_apart

    checked(desk)
    r = desk.request
    bar = Bar(desk)

    def listen(now: Status) -> None:
        left = now.seconds / max(1, now.step) * max(0, now.steps - now.step)
        bar.at("fit", now.step, now.steps, left)

    made = take_apart(
        desk.source,
        desk.out / "project",
        preset_name=r["preset"],
        layers=r["layers"],
        minutes=r["minutes"],
        start=r["start"],
        end=r["end"],
        device=desk.limits["device"],
        progress=listen,
    )
    desk.tell("file", name="project", role="project", type="project", bytes=0)
    return {"layers": [x.name for x in made.layers], "frames": len(made), **made.about}


def export(desk: Desk) -> dict[str, Any]:
    """Frames of a project as a video."""
    from unblur.atlas.project.output import write_frames
    from unblur.web.looking import as_codes, frames_of

    r = desk.request
    project = unblur.atlas.open(desk.source)
    chosen = project.frames_between(r["start"], r["end"])
    result = f"result.{r['container']}"
    height, width = project.size
    bar = Bar(desk)
    write_frames(
        project,
        frames_of(project, r, desk.paint, chosen),
        chosen,
        desk.out / result,
        codec=r["codec"],
        overwrite=True,
        progress=bar.steps(r["mode"], VIEW_PACE * len(chosen) * height * width),
    )
    desk.made(result, "result", TYPES[r["container"]])
    part = views(desk, bar, len(chosen), after=(desk.out / result, None, None, False))
    encode(
        ((project.times[t], as_codes(project.frames[t])) for t in chosen),
        desk.out / "before.mp4",
        project.rate,
    )
    desk.made("before.mp4", "before", VIDEO)
    return {"frames": len(chosen), **part}


def flow(desk: Desk) -> dict[str, Any]:
    """Optical flow between two frames of a project as a file, an image and a mask."""
    from unblur.atlas.project.flow_files import write_flow

    r = desk.request
    project = unblur.atlas.open(desk.source)
    found = project.flow(r["first"], r["last"])
    names = {"result": "flow.flo", "image": "flow.png", "mask": "valid.png"}
    paths = {role: desk.out / name for role, name in names.items()}
    write_flow(found, paths["result"], image=paths["image"], mask=paths["mask"], overwrite=True)
    for role, name in names.items():
        kind = "image/png" if name.endswith("png") else "application/octet-stream"
        desk.made(name, role, kind)
    return {"valid": float(found.valid.mean())}


def trial(desk: Desk) -> dict[str, Any]:
    """A sharp clip blurred on purpose and restored; both beside the truth, in dB."""
    from unblur.commands.simulate import focus, motion

    r, info = desk.request, checked(desk)
    begin_anew_if_replaced(desk)
    sharp, blurred, result = (desk.out / f"{n}.mkv" for n in ("truth", "blurred", "restored"))
    bar = Bar(desk)
    cut = gone_on_with(
        desk,
        desk.source,
        sharp,
        model="none",
        quality="auto",
        strength=1.0,
        start=r["start"],
        end=r["end"],
        deinterlace=r["deinterlace"],
        codec="ffv1",
    )
    if cut.frames > TRIAL_FRAMES:
        raise ResourceError(
            f"{cut.frames} frames are more than the {TRIAL_FRAMES} of a trial: choose a part"
        )
    count = bar.steps("blur", later=0.0)

    def blurring(done: int, total: int | None) -> None:
        count(done, None)  # what comes after it is not known yet, and takes longer

    if blurred.is_file():  # before a restart, and what was restored of it still fits
        pass
    elif r["blur"] == "motion":
        motion(
            sharp,
            blurred,
            exposure=r["exposure"],
            shake=r["shake"],
            overwrite=True,
            progress=blurring,
        )
    else:
        focus(sharp, blurred, r["focus"], radius=r["radius"], overwrite=True, progress=blurring)
    later = 3 * VIEW_PACE * cut.frames * info.width * info.height
    bar.later = later
    report = gone_on_with(desk, blurred, result, codec="ffv1", progress=bar.listen)
    scores = measured(sharp, blurred, result)
    text = json.dumps({"blur": r["blur"], "model": report.model, "frames": scores})
    write_text(desk, "scores.json", text, "scores", "application/json")
    part = views(
        desk,
        bar,
        report.frames,
        sharp=(sharp, None, None, False),
        before=(blurred, None, None, False),
        after=(result, None, None, False),
    )
    sharp.unlink()
    result.unlink()
    desk.made(blurred.name, "result", TYPES["mkv"])
    means = {
        f"{metric}_{name}": sum(s[name][metric] for s in scores) / len(scores)
        for name in ("blurred", "restored")
        for metric in ("psnr", "ssim")
        if scores[0][name][metric] is not None
    }
    return {"model": report.model, "frames": report.frames, **part, **means}


def measured(sharp: Path, *others: Path) -> list[dict[str, Any]]:
    """PSNR (dB, 100 where equal) and SSIM of each frame of other clips beside the sharp one."""
    from unblur.metrics import psnr, ssim

    scores = []
    readers = [open_video(path) for path in (sharp, *others)]
    try:
        for n, (truth, *found) in enumerate(zip(*readers, strict=True)):
            right = truth.rgb().clamp(0, 1)
            line: dict[str, Any] = {"frame": n}
            for path, frame in zip(others, found, strict=True):
                shown = frame.rgb().clamp(0, 1)
                large = min(right.shape[-2:]) >= 11
                line[path.stem] = {
                    "psnr": float(psnr(shown, right, cap=100)),
                    "ssim": float(ssim(shown, right)) if large else None,
                }
            scores.append(line)
    finally:
        for reader in readers:
            reader.close()
    return scores


def write_text(desk: Desk, name: str, text: str, role: str, kind: str) -> None:
    """Writes a small file and reports it."""
    (desk.out / name).write_text(text, encoding="utf-8")
    desk.made(name, role, kind)


KINDS: dict[str, Callable[[Desk], dict[str, Any]]] = {
    "analyze": analyze,
    "estimate": estimate,
    "restore": restore,
    "preview": preview,
    "fit": fit,
    "export": export,
    "flow": flow,
    "trial": trial,
}
