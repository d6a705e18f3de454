"""Running methods over a suite: what `unblur evaluate` and `unblur.evaluate` call."""

from __future__ import annotations

import time
from collections.abc import Sequence, Sized
from dataclasses import replace
from pathlib import Path

import torch

from unblur.engine.fusion import Fuse
from unblur.errors import UsageError
from unblur.evaluation.images import write, write_sheet
from unblur.evaluation.keep import Kept
from unblur.evaluation.methods import Method, classical
from unblur.evaluation.models import DEPTHS, TRUE_DEPTH, Rows
from unblur.evaluation.models import methods as methods_of
from unblur.evaluation.peers import peers as without_network
from unblur.evaluation.report import Shown, page, read_results, shown
from unblur.evaluation.scores import Evaluation, Score, score
from unblur.evaluation.suites import Sources, find_suite
from unblur.ops.device import choose_device
from unblur.progress import Listener, Plan, Progress, Rounds


def evaluate(
    suite: str,
    *,
    models: Sequence[str] = ("auto",),
    limit: int | None = None,
    fuse: Fuse = "auto",
    data: str | Path | Sequence[str | Path] = (),
    frames: int | None = None,
    textures: str | Path | None = None,
    blur: str | None = None,
    depth: str | Path = "builtin",
    scale: int = 1,
    encoded: int | None = None,
    blurred: str | Path | None = None,
    sharp: str | Path | None = None,
    protocol: str | None = None,
    ablate: bool = False,
    peers: bool = False,
    images: str | Path | None = None,
    html: str | Path | None = None,
    beside: Sequence[str | Path] = (),
    keep: str | Path | None = None,
    minutes: float | None = None,
    device: str = "auto",
    precision: str = "auto",
    progress: Listener | None = None,
) -> Evaluation:
    """Measures models beside the input, an unsharp mask and Wiener's filter with the true blur.

    Args:
        suite: `synth-motion`, `synth-focus`, `synth-joint`, `synth-lowlight`, `real-average`,
            `pairs`, `davis-blur`, `bench` (all rendered ones), or a data set on disk: `gopro:DIR`,
            `dvd:DIR`, `bsd:DIR` or `reds:DIR`.
        models: each `NAME` or `NAME=FILE.safetensors`, with NAME out of `unblur.list_models()`;
            `auto` is the default model. Behind it `@linear` or `@encoded` for the light it sees,
            `@depth`, `@coc` or `@depth-anything` for what guides it, `@alone` if it is to see one
            frame at a time, `@unfused` if its frames are to stay as they are. May be empty.
        limit: only the first clips; any number of them is a mixture of weak and strong blur.
        fuse: as for `restore`, for models without `@unfused`.
        data: for `real-average`: folders of sharp frames, or of folders of them; for
            `davis-blur`: the data set, or a folder of its sequences.
        frames: for `real-average`: how many are averaged, 3, 5 or 7 (the default); for
            `davis-blur`: how many of each sequence, from its middle; of a data set:
            how many of each sequence, from its first; all by default.
        textures: for the rendered suites: folder of images instead of the held-out ones.
        blur: for `davis-blur`: `paper` (one setting for all; the default) or `release` (one for
            each sequence).
        depth: `depth`, `coc` or `depth-anything` measure models that are guided by depth a second
            time: with the depth that the blur was made with, with this and the true circle of
            confusion, or with the depth of a network. For `davis-blur` also a folder of depth
            maps, to blur with and to guide with.
        scale: 2 measures models at twice the size of their input, the truth shrunk after it was
            blurred; frames of those that leave the size alone are enlarged.
        encoded: for the rendered suites: 23 or 29, frames out of H.264 files of that rate factor.
        blurred: for `pairs`: folder of images, videos or folders of frames.
        sharp: for `pairs`: folder of their sharp partners, with the same names.
        protocol: for data sets: `fair` (every frame once; the default), or `paper` for `gopro` and
            `dvd`: windows, frames and means as BSSTNet's released code counts them.
        ablate: rows V1, V1b, V2 and V3 of models that can do without a part: `base.ABLATIONS`.
        peers: rows for what others do without a network: FFmpeg's filters, Richardson-Lucy with the
            true blur, both deconvolutions with estimated blur, bursts laid together.
        images: folder for a sheet of each clip, all methods side by side.
        html: file for a page with tables, plots and images under a slider; it fetches nothing.
        beside: for that page: earlier results as `--json` writes them, whose rate factors stand in
            one plot with this one.
        keep: folder for the scores of each clip; those that are there are not measured again, and
            have no images.
        minutes: begin no clip after so many; the result is of those that were measured.
        device: where models run: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
        precision: of the models: `auto`, `fp32`, `bf16` or `fp16`.
        progress: called after each clip and method, which is a run.

    Returns:
        All scores, and the table of them. The same call on the same machine gives the same
        figures, times aside.

    Raises:
        UsageError: unknown suite, model or option, or one that the suite does not take.
        MediaError: data or textures cannot be read.
        WeightsError: the weights of a model are missing or do not fit.
        ResourceError: device or memory are not enough.
    """
    if limit is not None and limit < 1:
        raise UsageError(f"limit {limit}: take at least 1 clip")
    if scale not in (1, 2):
        raise UsageError(f"scale {scale}: use 1 or 2")
    folders = (data,) if isinstance(data, str | Path) else tuple(data)
    suite, folders = split_suite(suite, folders)
    maps, guide = choose_depth(depth)
    sources = Sources(
        data=tuple(Path(folder) for folder in folders),
        frames=frames,
        textures=None if textures is None else Path(textures),
        blur=blur,
        depth=maps,
        scale=scale,
        encoded=encoded,
        blurred=None if blurred is None else Path(blurred),
        sharp=None if sharp is None else Path(sharp),
        protocol=protocol,
    )
    chosen = find_suite(suite, sources)
    makers = chosen.clips(sources)[:limit]
    counting = chosen.counting(sources)
    earlier = read_results([Path(path) for path in beside])
    methods = choose_methods(models, Rows(scale, guide, ablate, fuse), device, precision, peers)
    names = [method.name for method in methods]

    scores: list[Score] = []
    clips: dict[str, dict[str, float]] = {}
    left_out: dict[str, str] = {}
    shown_rows: list[Shown] = []
    setup = {"suite": suite, "version": chosen.version, "methods": names}
    setup |= {"facts": chosen.about(sources), "fuse": fuse, "protocol": protocol}
    kept = None if keep is None else Kept(Path(keep), setup)
    began, warm = time.monotonic(), False
    report = Reporter(progress, Plan(", ".join(models), str(choose_device(device)), precision))
    rounds = Rounds(["clip", *names], len(makers))
    for number, make in enumerate(makers):
        report(number * len(methods), len(makers) * len(methods), rounds.left())
        if kept is not None and (found := kept.read(number)) is not None:
            name, clips[name], known = found
            scores += known
            continue
        if minutes is not None and time.monotonic() - began > 60 * minutes:
            break
        made = time.monotonic()
        clip = make()
        rounds.note("clip", time.monotonic() - made)
        if clip.name in clips:
            raise UsageError(f"two folders are called {clip.name}: rename one")
        clips[clip.name] = clip.facts
        columns, own = [], []
        for place, method in enumerate(methods):
            if missing := method.misses(clip):
                left_out[method.name] = missing
                rounds.note(method.name, 0.0)
                continue
            ran = time.monotonic()
            if method.warm_up and not warm:
                method.restore(clip)
            restored, seconds = method.timed(clip)
            own += score(clip, method.name, restored, seconds, counting.metrics)
            columns.append((method.name, restored[clip.wanted.index(clip.scored[0])]))
            rounds.note(method.name, time.monotonic() - ran)
            report(number * len(methods) + place + 1, len(makers) * len(methods), rounds.left())
        scores += own
        warm = True
        if kept is not None:
            kept.write(number, clip.name, clip.facts, own)
        if images is not None:
            sheet = Path(images) / f"{suite}-{clip.name}.png".replace("/", "-")
            write_sheet(sheet, clip.sharp[clip.scored[0]], columns)
        if html is not None:
            shown_rows.append(shown(clip.name, clip.sharp[clip.scored[0]], columns))
    measured = {one.method for one in scores}
    result = Evaluation(
        suite=suite,
        version=chosen.version,
        methods=tuple(name for name in names if name in measured and name not in left_out),
        scores=tuple(scores),
        left_out=left_out,
        facts={**chosen.about(sources), **measured_part(clips, makers), **machine(device)},
        clips=clips,
        parameters={m.name: m.parameters for m in methods if m.parameters is not None},
        mean=counting.mean,
        parts=chosen.parts,
        published=chosen.published(sources),
    )
    if html is not None:
        write(Path(html), page(result, shown_rows, earlier).encode())
    return result


def measured_part(clips: Sized, makers: Sized) -> dict[str, object]:
    """How many clips were measured, where that is not all of them."""
    whole = len(clips) == len(makers)
    return {} if whole else {"clips": f"{len(clips)} of {len(makers)}"}


def split_suite(suite: str, folders: tuple[str | Path, ...]) -> tuple[str, tuple[str | Path, ...]]:
    """The name of a suite and its folders: `gopro:DIR` is `gopro`, made of DIR.

    >>> split_suite("gopro:here", ())
    ('gopro', ('here',))
    """
    name, colon, folder = suite.partition(":")
    return (name, (folder, *folders)) if colon and folder else (name, folders)


class Reporter:
    """Reports to a listener runs of a method over a clip.

    Args:
        listener: called with each change, if given.
        plan: what is measured.
    """

    def __init__(self, listener: Listener | None, plan: Plan) -> None:
        self.listener, self.plan = listener, plan
        self.began = time.monotonic()

    def __call__(self, done: int, total: int, left: float | None) -> None:
        """So many of all runs are done, and the others take `left` seconds."""
        if self.listener is None:
            return
        if self.plan.total is None:
            self.plan = replace(self.plan, total=total, unit="runs")
        spent = time.monotonic() - self.began
        share = None if left is None or spent + left == 0 else spent / (spent + left)
        rate = done / spent if spent > 0 else 0.0
        self.listener(Progress("evaluate", done, total, rate, left, spent, share, self.plan))


def choose_depth(depth: str | Path) -> tuple[Path | None, str]:
    """Depth maps to blur with, and what guides models beside what they find themselves."""
    words = ("builtin", *DEPTHS)
    if str(depth) in words:
        return None, str(depth)
    if not Path(depth).is_dir():
        raise UsageError(
            f"depth '{depth}': use {', '.join(words)}, or a folder of depth maps that exists"
        )
    return Path(depth), TRUE_DEPTH


def choose_methods(
    models: Sequence[str], rows: Rows, device: str, precision: str, peers: bool = False
) -> list[Method]:
    """All rows of the table, each with a name of its own.

    Raises:
        UsageError: a model is named twice, or nothing can be ablated where that is wanted.
    """
    found = [*classical(rows.scale), *(without_network() if peers else ())]
    for text in models:
        found += methods_of(text, rows, device, precision)
    names = [method.name for method in found]
    if repeated := {name for name in names if names.count(name) > 1}:
        raise UsageError(f"model '{repeated.pop()}' is named twice: once is enough")
    if rows.ablate and not any(method.ablated for method in found):
        raise UsageError("--ablate: none of the models can do without a part, take --model focus-s")
    return found


def machine(device: str) -> dict[str, object]:
    """What computes."""
    where = choose_device(device)
    return {
        "device": torch.cuda.get_device_name(where) if where.type == "cuda" else str(where),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
