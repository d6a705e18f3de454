"""From a clip to a project: what `unblur atlas fit` does."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from unblur.atlas.fitting.canvas import Canvas
from unblur.atlas.fitting.checkpoint import (
    FOLDER,
    damaged,
    fingerprint,
    load_state,
    restore,
    save_state,
    starts_of,
)
from unblur.atlas.fitting.fit import Fitter, Status, Targets, sharp_frames
from unblur.atlas.fitting.initial import masks_of, report_radii, start_layers
from unblur.atlas.fitting.inputs import (
    Clip,
    check_masks,
    check_size,
    read_clip,
    read_masks,
    warn_of_even_focus,
)
from unblur.atlas.fitting.masks import labels_of, motion_masks, sam_masks
from unblur.atlas.fitting.model import LayeredModel, LayerStart, from_working, to_working
from unblur.atlas.fitting.motion import Motion, find_motion
from unblur.atlas.fitting.paper import PaperModel
from unblur.atlas.fitting.presets import CocSource, FitConfig, preset
from unblur.atlas.project.clip import Layer
from unblur.atlas.project.maps import png
from unblur.atlas.project.project import Project
from unblur.atlas.project.store import check_free
from unblur.disk import alone
from unblur.errors import UnblurWarning, UsageError
from unblur.guidance.coc import COC_WEIGHTS, coc_radius, load_coc_m, load_coc_s
from unblur.ops.color import from_linear, to_linear
from unblur.ops.device import choose_device
from unblur.optics.lens import lens_radius
from unblur.schema import conform
from unblur.weights import find

Tell = Callable[[Status], None]
MOST_LAYERS = 6
POOR = 25.0
"""PSNR in dB of the layers, blurred again, beside the clip, below which they are not the clip."""
PREVIEW_EVERY = 100
"""Steps."""
PER_FRAME, PER_PREVIEW = 1.5, 8.0
"""What writing a project costs, and the last preview, in looks at a frame."""


def fit(
    clip: str | os.PathLike[str],
    project: str | os.PathLike[str],
    *,
    masks: str | os.PathLike[str] | None = None,
    point: tuple[float, float] | None = None,
    preset_name: str = "cpu",
    layers: int = 2,
    minutes: float | None = None,
    coc: CocSource | None = None,
    start: str | None = None,
    end: str | None = None,
    seed: int = 0,
    device: str = "auto",
    overwrite: bool = False,
    progress: Tell | None = None,
) -> Project:
    """Takes a clip apart into sharp layers and writes the project folder.

    The state is kept in `PROJECT/fit`: the same call goes on where one was cut off.

    Args:
        clip: a video, a folder of images or a pattern; one shot, out of focus here and there.
        project: a folder to write.
        masks: rough masks of the foreground, white, one for each frame: images or a video. By
            default what moves unlike the background.
        point: x and y in the first frame, for masks by SAM 2 (the extra `priors`).
        preset_name: `cpu`, `fast` or `paper`.
        layers: how many, the background counted, 1 to 6.
        minutes: that all of it may take at most, from reading the clip on: see `Fitter.run`.
        coc: where the radii of the circle of confusion come from; by default as in the preset.
        start: first frame: see `unblur.video.open_video`.
        end: frame to stop before.
        seed: of what is drawn by chance.
        device: `auto`, or what `torch.device` takes: see `device_for`.
        overwrite: replace a project that is there.
        progress: called every few steps.

    Returns:
        The project as it lies in the folder.

    Raises:
        UsageError: the clip has a cut, is too long or too small, masks do not fit, or the folder
            is in use.
        ResourceError: not enough memory.
        MediaError: clip or masks cannot be read.
    """
    if not 1 <= layers <= MOST_LAYERS:
        raise UsageError(f"a clip has 1 to {MOST_LAYERS} layers, not {layers}")
    if minutes is not None and not minutes > 0:
        raise UsageError(f"--minutes must be above 0, not {minutes:g}")
    folder = Path(project)
    check_free(folder, overwrite)
    config = replace(preset(preset_name), seed=seed)
    config = config if coc is None else replace(config, coc=coc)
    if config.mapping == "mlp" and config.coc == "learned":
        raise UsageError("--preset paper learns no radii: take --coc estimated or none")
    where = device_for(device, config)
    began = time.monotonic()
    source = read_clip(clip, start=start, end=end)
    size = (source.frames.shape[-2], source.frames.shape[-1])
    labels: Tensor | None = None
    if masks is not None:
        labels = labels_of(read_masks(masks, len(source.frames), size), layers)
        check_masks(labels)
    elif point is not None:
        labels = sam_masks(source.frames, point)
        check_masks(labels)
    frames = source.frames
    if source.transfer is not None:
        frames = from_linear(to_linear(frames, source.transfer)).clamp(0, 1)
    taken = f"another fit is at work in {folder}: wait for it, or name another folder"
    with alone(folder / FOLDER, taken):
        fitter = fit_frames(
            frames,
            config,
            layers,
            labels=labels,
            minutes=minutes,
            folder=folder,
            device=where,
            progress=progress,
            began=began,
        )
        return _saved(fitter, source, folder, overwrite)


def _saved(fitter: Fitter, source: Clip, folder: Path, overwrite: bool) -> Project:
    """The project that a fit made, in its folder."""
    config = fitter.config
    about = {"preset": config.name, "coc": config.coc, "steps": fitter.done, "psnr": fitter.psnr}
    made = Project(
        layers_of(fitter.model, source.transfer),
        source.frames,
        source.times,
        source.rate,
        config.beta,
        "linear" if config.linear else "encoded",
        source.transfer,
        about,
    )
    return made.save(folder, overwrite=overwrite)


def fit_frames(
    frames: Tensor,
    config: FitConfig,
    layers: int = 2,
    *,
    labels: Tensor | None = None,
    radii: Tensor | None = None,
    minutes: float | None = None,
    folder: Path | None = None,
    device: torch.device | str = "cpu",
    progress: Tell | None = None,
    began: float | None = None,
    clock: Callable[[], float] | None = None,
) -> Fitter:
    """Fits layers to frames in memory.

    Args:
        frames: (T, 3, H, W) RGB in [0, 1], encoded with the sRGB curve.
        config: a preset.
        layers: how many, where `labels` do not say.
        labels: (T, H, W) int64 layer that each pixel shows, 0 = background; found by default.
        radii: (T, 1, H, W) or (layers, T) radii of the circle of confusion in pixels, where they
            are known.
        minutes: as in `fit`.
        folder: of the project; its `fit` keeps state and previews. None: nothing is written.
        device: where layers are learned; flow and masks are found on the CPU.
        progress: called every few steps.
        began: when the time for `minutes` began, by `clock`; by default now.
        clock: what `minutes` are counted by, in seconds: by default `time.monotonic`; with
            `time.process_time` they are those of the CPU.

    Returns:
        The fit, done.
    """
    clock = clock or time.monotonic
    began = clock() if began is None else began
    T, _, H, W = frames.shape
    check_size(T, H, W)
    state_folder = None if folder is None else folder / FOLDER
    of = fingerprint(frames, labels, radii, config, layers)
    saved = None if state_folder is None else load_state(state_folder)
    motion = find_motion(frames)
    if saved is not None and saved[1].get("of") != of:
        saved = None
    starts: list[LayerStart] = []
    if saved is not None:
        labels = saved[0]["labels"].long()
    elif labels is None:
        labels = find_labels(motion, frames, layers)
    assert labels is not None  # noqa: S101
    masks = masks_of(labels, int(labels.max()) + 1)
    model: LayeredModel
    if config.mapping == "mlp":
        model = paper_model(frames, layer_names(len(masks)), radii, config)
    else:
        if saved is not None and state_folder is not None:
            try:
                starts = starts_of(saved[0], conform(saved[1]["names"], list[str], "names"))
            except (LookupError, TypeError, ValueError) as error:
                raise damaged(state_folder, error) from error
        else:
            starts = prepare(frames, motion, masks, config, radii)
        model = LayeredModel(starts, (H, W), config)
    targets = Targets(frames.to(device), motion, masks, config)
    fitter = Fitter(model.to(device), targets, config, clock)
    if saved is not None and state_folder is not None:
        try:
            restore(fitter, *saved)
        except (LookupError, TypeError, ValueError, RuntimeError, AttributeError) as error:
            raise damaged(state_folder, error) from error

    def save() -> None:
        if state_folder is not None:
            save_state(state_folder, fitter, starts, labels, of)

    def tell(status: Status) -> None:
        if state_folder is not None and status.step and status.step % PREVIEW_EVERY == 0:
            write_preview(state_folder, fitter, frames)
        if progress is not None:
            progress(status)

    closing = 0.0 if minutes is None else closing_seconds(fitter)
    fitter.prepare(clock() - began)
    if saved is None:
        save()
    fitter.run(tell, minutes, save, closing=closing)
    save()
    if fitter.psnr < POOR:
        warnings.warn(
            f"the layers, blurred again, are only {fitter.psnr:.1f} dB like the clip: it moves in a"
            " way that they do not follow (give --masks, more --layers or a shorter part)",
            UnblurWarning,
            stacklevel=2,
        )
    return fitter


def find_labels(motion: Motion, frames: Tensor, layers: int) -> Tensor:
    """Labels (T, H, W) of what moves, 0 = background; a warning where nothing does."""
    labels = motion_masks(motion, len(frames), (frames.shape[-2], frames.shape[-1]), layers)
    if layers > 1 and not bool(labels.any()):
        warnings.warn(
            "nothing moves unlike the background: the clip is fitted as one layer (give --masks if"
            " there is a foreground)",
            UnblurWarning,
            stacklevel=4,
        )
    return labels


def prepare(
    frames: Tensor, motion: Motion, masks: Tensor, config: FitConfig, radii: Tensor | None
) -> list[LayerStart]:
    """Where the fit of each layer starts, back to front."""
    given = radii is not None
    if config.coc == "estimated":
        radii = estimated(frames) if radii is None else radii
    if radii is not None and radii.ndim == 4:
        radii = medians(radii, masks)
    names = layer_names(len(masks))
    starts = start_layers(frames, motion, masks, names, config, radii, search=not given)
    if config.coc in ("given", "estimated"):
        warn_of_even_focus(report_radii(starts, config.beta))
    return starts


def estimated(frames: Tensor) -> Tensor | None:
    """Radii (T, 1, H, W) by coc-s; None where its weights are missing."""
    return coc_radius(load_coc_s(), frames) if find(COC_WEIGHTS) is not None else None


def paper_model(
    frames: Tensor, names: Sequence[str], radii: Tensor | None, config: FitConfig
) -> PaperModel:
    """The model of the preset `paper`; radii (T, 1, H, W) of ideal disks where they are known."""
    T, _, H, W = frames.shape
    if radii is None or radii.ndim != 4:
        radii = coc_radius(load_coc_m(), frames)  # by transfer, as in the paper
    lens = lens_radius(radii.clamp(0, config.largest_radius), config.beta)
    mean = to_working(frames, config.linear).mean((0, 2, 3))
    return PaperModel(T, (H, W), names, lens, mean, config)


def device_for(name: str, config: FitConfig) -> torch.device:
    """See `choose_device`; `auto` takes the CPU for the preset `cpu`."""
    return choose_device("cpu" if (name, config.name) == ("auto", "cpu") else name, mps=False)


def layer_names(count: int) -> list[str]:
    """Names of layers, back to front."""
    if count <= 2:
        return ["background", "foreground"][:count]
    return ["background", *(f"layer-{i}" for i in range(1, count - 1)), "foreground"]


def medians(radii: Tensor, masks: Tensor) -> Tensor:
    """Radii (layers, T) of maps (T, 1, H, W) within masks (layers, T, H, W); NaN where empty."""
    out = torch.full(masks.shape[:2], torch.nan)
    for layer, mask in enumerate(masks):
        for t in range(len(radii)):
            if bool(mask[t].any()):
                out[layer, t] = radii[t, 0][mask[t]].median()
    return out


@torch.no_grad()
def closing_seconds(fitter: Fitter) -> float:
    """About how long the last preview and the layers of a fit take to make: networks are slow."""
    model = fitter.model
    before = fitter.clock()
    model.look(Canvas(*model.size), [0])
    return (PER_FRAME * model.frames + PER_PREVIEW) * (fitter.clock() - before)


@torch.no_grad()
def layers_of(model: LayeredModel, transfer: str | None = None) -> tuple[Layer, ...]:
    """The layers of a fit as a project holds them, front to back."""
    H, W = model.size
    canvas = Canvas(H, W)
    atlases = model.atlases()
    count = len(atlases)
    uv = [torch.empty(model.frames, 2, H, W) for _ in range(count)]
    alpha, radius = ([torch.ones(model.frames, 1, H, W) for _ in range(count)] for _ in range(2))
    seen = [torch.zeros(1, *size) for size in model.sizes]
    for t in range(model.frames):
        look = model.look(canvas, [t], atlases)
        left = torch.ones(H, W)
        for i in reversed(range(count)):
            uv[i][t] = model.mappings[i](canvas, [t])[0]
            cover = look.alphas[i]
            alpha[i][t] = 1.0 if cover is None else cover[0]
            radius[i][t] = look.radii[i][0]
            mark(seen[i], uv[i][t], left * alpha[i][t, 0])
            left = left * (1 - alpha[i][t, 0])
    out = []
    for i in reversed(range(count)):
        image = from_working(atlases[i][:3].cpu(), model.config.linear)
        if transfer is not None:
            image = from_linear(to_linear(image), transfer).clamp(0, 1)
        # Places between those that pixels fell on were seen as well.
        shown = F.max_pool2d(seen[i][None], 3, 1, 1)[0].clamp(0, 1)
        sharp = model.config.coc == "none"
        out.append(
            Layer(model.names[i], image, shown, uv[i], alpha[i], None if sharp else radius[i])
        )
    return tuple(out)


def mark(seen: Tensor, place: Tensor, share: Tensor) -> None:
    """Raises `seen` (1, Ha, Wa) to `share` (H, W) at places (2, H, W)."""
    Ha, Wa = seen.shape[-2:]
    cols, rows = place.round().long()
    inside = (cols >= 0) & (cols < Wa) & (rows >= 0) & (rows < Ha)
    index = (rows * Wa + cols)[inside]
    seen.view(-1).scatter_reduce_(0, index, share[inside], "amax")


@torch.no_grad()
def write_preview(folder: Path, fitter: Fitter, frames: Tensor) -> None:
    """Frames of the clip, what the fit makes of them, and that in focus, as one image."""
    model = fitter.model
    T = len(frames)
    chosen: Sequence[int] = sorted({T // 8, T // 2, T - 1 - T // 8})
    canvas = fitter.canvas(1)
    look = model.look(canvas, chosen)
    blurred = from_working(canvas.crop(model.blurred(look, 1)), model.config.linear).cpu()
    sharp = sharp_frames(model, chosen)
    rows = [torch.cat(list(x), 2) for x in (frames[list(chosen)], blurred, sharp)]
    codes = torch.cat(rows, 1).clamp(0, 1).mul(255).round().byte()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"preview-{fitter.step:05}.png"
    part = path.with_suffix(".part")
    part.write_bytes(png(codes.permute(1, 2, 0).flip(-1).contiguous().cpu().numpy()))
    os.replace(part, path)
