"""Running methods over a suite: what `unblur evaluate` and `unblur.evaluate` call."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from unblur.api import Progress
from unblur.errors import UsageError
from unblur.evaluate.methods import CLASSICAL, model
from unblur.evaluate.pictures import write_sheet
from unblur.evaluate.scores import Evaluation, Score, score
from unblur.evaluate.suites import Sources, find_suite
from unblur.restorers.registry import choose_device


def evaluate(
    suite: str,
    *,
    models: Sequence[str] = ("auto",),
    limit: int | None = None,
    data: str | Path | Sequence[str | Path] = (),
    frames: int | None = None,
    textures: str | Path | None = None,
    pictures: str | Path | None = None,
    device: str = "auto",
    precision: str = "auto",
    progress: Callable[[Progress], None] | None = None,
) -> Evaluation:
    """Measures models beside the input, an unsharp mask and Wiener's filter with the true blur.

    Args:
        suite: `synth-motion`, `synth-focus`, `synth-joint` or `real-average`.
        models: each `NAME`, `NAME@linear`, `NAME@encoded` or `NAME=FILE.safetensors`, with NAME
            out of `unblur.list_models()`; `auto` is the default model. May be empty.
        limit: only the first clips; any number of them is a mixture of weak and strong blur.
        data: for `real-average`: folders of sharp frames, or of folders of them.
        frames: for `real-average`: how many are averaged, 3, 5 or 7 (the default).
        textures: for the rendered suites: folder of pictures instead of the held-out ones.
        pictures: folder for a sheet of each clip, all methods side by side.
        device: where models run: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
        precision: of the models: `auto`, `fp32`, `bf16` or `fp16`.
        progress: called after each clip and method; a frame is one that counts.

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
    folders = (data,) if isinstance(data, str | Path) else tuple(data)
    sources = Sources(
        data=tuple(Path(folder) for folder in folders),
        frames=frames,
        textures=None if textures is None else Path(textures),
    )
    chosen = find_suite(suite, sources)
    makers = chosen.clips(sources)[:limit]
    methods = [*CLASSICAL, *(model(text, device, precision) for text in models)]
    names = [method.name for method in methods]
    if repeated := {name for name in names if names.count(name) > 1}:
        raise UsageError(f"model '{repeated.pop()}' is named twice: once is enough")

    scores: list[Score] = []
    clips: dict[str, dict[str, float]] = {}
    left_out: dict[str, str] = {}
    began = time.monotonic()
    for number, make in enumerate(makers):
        clip = make()
        if clip.name in clips:
            raise UsageError(f"two folders are called {clip.name}: rename one")
        clips[clip.name] = clip.facts
        columns = []
        for place, method in enumerate(methods):
            if missing := method.misses(clip):
                left_out[method.name] = missing
                continue
            if method.warm_up and number == 0:
                method.restore(clip)
            restored, seconds = method.timed(clip)
            scores += score(clip, method.name, restored, seconds)
            columns.append((method.name, restored[0]))
            if progress is not None:
                done = (number * len(methods) + place + 1) * len(clip.scored)
                total = len(makers) * len(methods) * len(clip.scored)
                progress(Progress("evaluate", done, total, done / (time.monotonic() - began)))
        if pictures is not None:
            write_sheet(Path(pictures) / f"{suite}-{clip.name}.png", clip.truth[0], columns)
    return Evaluation(
        suite=suite,
        version=chosen.version,
        methods=tuple(name for name in names if name not in left_out),
        scores=tuple(scores),
        left_out=left_out,
        facts=facts(sources, chosen.takes, device),
        clips=clips,
    )


def facts(sources: Sources, takes: frozenset[str], device: str) -> dict[str, object]:
    """What a table's head says beside the suite's name."""
    where = choose_device(device)
    known: dict[str, object] = {
        "textures": str(sources.textures) if sources.textures else "held out",
        "data": [str(folder) for folder in sources.data],
        "frames": sources.frames or 7,
    }
    return {
        **{name: known[name] for name in sorted(takes)},
        "device": torch.cuda.get_device_name(where) if where.type == "cuda" else str(where),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
