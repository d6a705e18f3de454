"""All presets by name, and loading one on the right device in the right precision."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Callable, Mapping
from numbers import Integral
from pathlib import Path
from typing import Literal

import torch

from unblur.errors import UnblurWarning, UsageError
from unblur.ops.device import choose_device
from unblur.restorers import aligned, atlas, bsstnet, dabit, maxim, none
from unblur.restorers.base import LoadOptions, Precision, Preset, Restorer, RestorerInfo
from unblur.weights import RENAMED, model_names

FAST, BEST = "motion-s", "motion-m"
"""What `--quality` chooses from: figures in docs/evaluation.md."""
DEFAULT = BEST
LONGEST = 600.0
"""Seconds that a job may take for the best model to be chosen by default."""
LIKE = 0.7
"""How similar two names are, of 1, where one was likely meant for the other."""
Quality = Literal["auto", "fast", "best"]
Blur = Literal["auto", "motion", "focus"]
"""What a video is blurred by; `auto`: what is found in each shot."""
FOR: Mapping[Blur, tuple[str, str]] = {
    "auto": (FAST, BEST),
    "motion": (FAST, BEST),
    "focus": ("focus-s", "focus-m"),
}
"""The fast and the best model for each; `auto` where shots cannot be looked at before."""
Kind = Literal["sharp", "motion", "focus", "both"]
"""How a shot is blurred."""
NOTHING = none.Untouched.info.name
RESTORED_BY: Mapping[Kind, tuple[str, str]] = {
    "sharp": (NOTHING, NOTHING),
    "motion": FOR["motion"],
    "focus": FOR["focus"],
    "both": FOR["motion"],
}
"""The fast and the best model for each. Both at once: figures in docs/analyze.md."""

PRESETS: dict[str, Preset] = {
    preset.info.name: preset
    for room in (maxim, aligned, bsstnet, dabit, atlas, none)
    for preset in room.PRESETS
}


def list_models() -> list[RestorerInfo]:
    """What every preset is."""
    return [preset.info for preset in PRESETS.values()]


def preset(name: str) -> Preset:
    """The preset called `name`; `auto` is the default.

    Raises:
        UsageError: there is none of that name.
    """
    if not isinstance(name, str):
        raise UsageError(f"model {name!r}: takes a name of unblur.list_models()")
    name = DEFAULT if name == "auto" else name
    if name in RENAMED:
        raise UsageError(f"unknown model '{name}': it is called {RENAMED[name]} now")
    if name not in PRESETS:
        close = similar(name)
        hint = f"did you mean {close}? " if close else ""
        raise UsageError(f"unknown model '{name}': {hint}`unblur models` lists them")
    return PRESETS[name]


def similar(name: str) -> str | None:
    """The preset that was likely meant: one that begins so, or is spelt nearly so; not one that
    restores nothing.
    """
    infos = [p.info for p in PRESETS.values()]
    useful = [info.name for info in infos if not info.passes_through and not info.for_tests]
    useful.sort(key=lambda n: not PRESETS[n].info.ships)
    begins = [n for n in useful if name and n.startswith(name.lower())]
    close = difflib.get_close_matches(name.lower(), useful, n=1, cutoff=LIKE)
    return next(iter([*begins, *close]), None)


def model_of(weights: str | Path) -> str:
    """The preset that a file of weights names, as training and converting do; else the default.

    Raises:
        WeightsError: it is missing, or no safetensors file.
    """
    return next((name for name in model_names(weights) if name in PRESETS), DEFAULT)


def choose_model(quality: Quality, seconds: Callable[[], float | None], blur: Blur = "auto") -> str:
    """The preset for a job.

    Args:
        quality: `fast`, `best`, or `auto`: the best if the job is then done in ten minutes.
        seconds: what the job would take with the best model; None where its length is not known.
        blur: what it is to be good at.
    """
    return FOR[blur][choose_quality(quality, seconds) == "best"]


def choose_quality(
    quality: Quality, seconds: Callable[[], float | None]
) -> Literal["fast", "best"]:
    """The same for a job that several presets may do."""
    if quality == "auto":
        needed = seconds()
        return "fast" if needed is None or needed > LONGEST else "best"
    return quality


def load_model(
    name: str = "auto",
    *,
    weights: str | Path | None = None,
    device: str | torch.device = "auto",
    precision: str = "auto",
    scale: int | None = None,
) -> Restorer:
    """Loads a preset with its weights.

    Args:
        name: a preset of `list_models`, or `auto` for the default.
        weights: safetensors file used instead of the preset's own weights.
        device: `auto`, or what `torch.device` takes (`cpu`, `cuda:0`, `mps`).
        precision: `auto`, `fp32`, `bf16` or `fp16`.
        scale: size of the output in multiples of the input's, where the preset leaves a choice.

    Returns:
        The restorer, ready to run.

    Raises:
        UsageError: unknown model, device or precision, or a scale that it does not give.
        WeightsError: the weights are missing or do not fit.
        ResourceError: the device is not there.
    """
    chosen = preset(name)
    where = choose_device(str(device))
    return chosen.load(
        LoadOptions(
            device=where,
            precision=choose_precision(precision, chosen.info, where),
            weights=None if weights is None else str(weights),
            scale=choose_scale(scale, chosen.info),
        )
    )


def choose_scale(scale: int | None, info: RestorerInfo) -> int:
    """The scale requested, else what the preset gives by default.

    Raises:
        UsageError: the preset does not give that scale.
    """
    if scale is None:
        return info.scale
    if not isinstance(scale, Integral) or isinstance(scale, bool):
        raise UsageError(f"scale {scale!r}: takes a whole number")
    if scale not in info.scales:
        given = " or ".join(str(n) for n in info.scales)
        others = [p.info for p in PRESETS.values() if scale in p.info.scales]
        others.sort(key=lambda other: other.ships)
        remedy = f", or take --model {others[-1].name}" if scale > 1 and others else ""
        raise UsageError(f"{info.name} gives scale {given}, not {scale}: leave --scale out{remedy}")
    return scale


def choose_precision(precision: str, info: RestorerInfo, device: torch.device) -> Precision:
    """The precision to compute in; `auto` takes half precision where it is safe and fast."""
    if precision == "auto":
        if "bf16" in info.precisions and bf16_is_fast(device):
            return "bf16"
        return "fp32"
    known: dict[str, Precision] = {"fp32": "fp32", "bf16": "bf16", "fp16": "fp16"}
    if precision not in known:
        raise UsageError(f"unknown precision '{precision}': use auto, {', '.join(known)}")
    if precision == "fp16" and precision not in info.precisions:
        safe = " or ".join(sorted(info.precisions))
        raise UsageError(f"{info.name} does not run in fp16: use --precision {safe}")
    if precision not in info.precisions:
        warnings.warn(
            f"{info.name} was not measured in {precision}: colours may band or overflow; "
            f"safe are {', '.join(sorted(info.precisions))}",
            UnblurWarning,
            stacklevel=3,
        )
    return known[precision]


def bf16_is_fast(device: torch.device) -> bool:
    """True where bfloat16 saves time, and not only memory."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
        # Intel's AVX-512 multiplies bfloat16 at half the rate of float32; AMD's at twice.
        avx512 = capabilities.get("avx512_bf16") and "Intel" not in str(
            capabilities.get("cpu_name")
        )
        return bool(avx512 or capabilities.get("amx_bf16") or capabilities.get("arm_bf16"))
    return False
