"""The learning curve in TensorBoard, for those who have it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from unblur.errors import UsageError
from unblur.training.loop import Point


def board(folder: Path) -> Callable[[Point], None]:
    """A callback that writes each point of the curve as scalars, by step.

    Args:
        folder: where TensorBoard is to look: `tensorboard --logdir FOLDER`.

    Raises:
        UsageError: the package `tensorboard` is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise UsageError("--tensorboard needs its package: pip install tensorboard") from error
    writer = SummaryWriter(str(folder))

    def write(point: Point) -> None:
        for name, value in {"loss": point.loss, **point.metrics}.items():
            if value is not None:
                writer.add_scalar(name, value, point.step)
        writer.flush()

    return write
