"""Where tensors and networks of tests live: `pytest --device cuda` moves them there.

Tests of the rooms below say nothing of devices. What such a file makes by `torch.rand`,
`torch.from_numpy` and the like is moved as it is made, and networks are born there; the package
itself is left alone, so that a tensor that it makes in the wrong place is an error. Numbers are
drawn on the CPU: they are the same ones wherever a test runs.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module
from torch.overrides import TorchFunctionMode

ROOMS = ("guidance", "metrics", "models", "ops", "optics", "synth", "training")
"""Those whose tests are about tensors. Of a fit of an atlas `device_cases.py` has what runs on a
device: the rest of that room is about files, and what OpenCV finds."""
NETWORKS = (*ROOMS, "restorers")
"""Those whose networks live there: a restorer takes frames from main memory."""
FOLDERS = tuple(str(Path(__file__).parent / room) for room in (*ROOMS, "recipe.py"))
MAKE: set[Callable[..., Any]] = {
    torch.arange,
    torch.as_tensor,
    torch.empty,
    torch.eye,
    torch.full,
    torch.linspace,
    torch.logspace,
    torch.normal,
    torch.ones,
    torch.rand,
    torch.randint,
    torch.randn,
    torch.randperm,
    torch.tensor,
    torch.zeros,
}
FROM_NUMPY = torch.from_numpy
TO_NUMPY = {Tensor.numpy, Tensor.__array__}
PACKAGE = str(Path(__file__).parents[1] / "src")


class Placing(TorchFunctionMode):
    """Tensors that tests of `ROOMS` make live on a device; NumPy gets copies."""

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.device = device

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        caller = sys._getframe(1).f_code.co_filename
        if func in MAKE and kwargs.get("device") is None and caller.startswith(FOLDERS):
            learned = kwargs.pop("requires_grad", False)
            return func(*args, **kwargs).to(self.device).requires_grad_(learned)
        if func in TO_NUMPY and not caller.startswith(PACKAGE):
            args = (args[0].detach().cpu(), *args[1:])
        return func(*args, **kwargs)


def in_rooms() -> bool:
    """Whether a test of a room of `NETWORKS` runs, or its file is being imported."""
    running = os.environ.get("PYTEST_CURRENT_TEST")  # pytest names it there
    if running is not None:
        return running.partition("tests/")[2].startswith(NETWORKS)
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and not frame.f_code.co_filename.startswith(FOLDERS):
        frame = frame.f_back
    return frame is not None


@contextmanager
def placed(device: torch.device) -> Iterator[None]:
    """Networks are born on the device meanwhile, and tensors of tests live there."""

    def moves(x: Tensor | None) -> bool:
        return x is not None and x.device.type == "cpu" and in_rooms()

    def parameter(_: nn.Module, __: str, value: nn.Parameter | None) -> nn.Parameter | None:
        if value is None or not moves(value):
            return None
        return nn.Parameter(value.detach().to(device), value.requires_grad)

    def buffer(_: nn.Module, __: str, value: Tensor | None) -> Tensor | None:
        return value.to(device) if value is not None and moves(value) else None

    def from_numpy(array: Any) -> Tensor:
        made = FROM_NUMPY(array)
        return made.to(device) if sys._getframe(1).f_code.co_filename.startswith(FOLDERS) else made

    with ExitStack() as stack:
        torch.from_numpy = from_numpy
        stack.callback(setattr, torch, "from_numpy", FROM_NUMPY)
        for handle in (
            module.register_module_parameter_registration_hook(parameter),
            module.register_module_buffer_registration_hook(buffer),
        ):
            stack.callback(handle.remove)
        stack.enter_context(Placing(device))
        yield
