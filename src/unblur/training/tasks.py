"""The networks that can be trained, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import torch

from unblur.errors import UsageError
from unblur.models import aligned, bsstnet, dabit
from unblur.training.coc_task import TrainCoc
from unblur.training.dabit_task import TrainDabit
from unblur.training.deblur_task import TrainAligned, TrainBSSTNet, TrainMaxim
from unblur.training.flow_refocus_task import TrainFlowRefocus
from unblur.training.flow_task import TrainFlow
from unblur.training.focal_task import TrainFocal
from unblur.training.peers_task import TrainAlignedAnew, TrainBasicVSRPP, TrainNAFNet
from unblur.training.recipe import Recipe
from unblur.training.task import Task
from unblur.weights import RENAMED

TASKS: Mapping[str, Callable[[Recipe, torch.device], Task]] = {
    "maxim-stage1": TrainMaxim,
    "bsstnet-paper": partial(TrainBSSTNet, preset=bsstnet.PAPER),
    "motion-s": TrainAligned,
    "motion-m": partial(TrainAligned, preset=aligned.MOTION_M),
    "focus-s": partial(TrainFocal, preset=aligned.FOCUS_S),
    "focus-m": partial(TrainFocal, preset=aligned.FOCUS_M),
    "dabit-paper": partial(TrainDabit, preset=dabit.PAPER),
    "dabit-narrow": partial(TrainDabit, preset=dabit.SMALL),
    "dabit-tiny": partial(TrainDabit, preset=dabit.TINY),
    "bsstnet-narrow": partial(TrainBSSTNet, preset=bsstnet.SMALL),
    "bsstnet-tiny": partial(TrainBSSTNet, preset=bsstnet.TINY),
    "flow-s": TrainFlow,
    "flow-refocus": TrainFlowRefocus,
    "coc-s": TrainCoc,
    # for a table alone: no model that can be run is called so
    "nafnet-narrow": TrainNAFNet,
    "basicvsrpp-narrow": TrainBasicVSRPP,
    "aligned-narrow": TrainAlignedAnew,
}
"""By the name a recipe gives as its `network`."""


def open_task(recipe: Recipe, device: torch.device) -> Task:
    """The task of a recipe.

    Raises:
        UsageError: unknown network, or options it does not have.
    """
    if recipe.network not in TASKS:
        now = RENAMED.get(recipe.network)
        hint = f"it is called {now} now" if now else f"use {', '.join(TASKS)}"
        raise UsageError(f"recipe: unknown network '{recipe.network}': {hint}")
    try:
        task = TASKS[recipe.network](recipe, device)
    except (TypeError, ValueError) as error:
        raise UsageError(f"recipe: {error}") from error
    if recipe.window and not isinstance(task, TrainDabit):
        raise UsageError(f"recipe: window is for DaBiT, {recipe.network} sees whole clips")
    return task
