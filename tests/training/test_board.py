"""TensorBoard is optional: without it the rest works, and the error says what to install."""

from __future__ import annotations

import sys
import types

import pytest

from unblur.errors import UsageError
from unblur.training.board import board
from unblur.training.loop import Point

POINT = Point(step=7, minutes=1.0, pixels=10, loss=0.5, metrics={"gain": 0.25})


def test_without_the_package_the_remedy_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UsageError, match="pip install tensorboard"):
        board(tmp_path)


def test_each_point_becomes_scalars(monkeypatch, tmp_path):
    written = []

    class SummaryWriter:
        def __init__(self, folder):
            self.folder = folder

        def add_scalar(self, name, value, step):
            written.append((self.folder, name, value, step))

        def flush(self):
            written.append("flushed")

    fake = types.ModuleType("torch.utils.tensorboard")
    fake.SummaryWriter = SummaryWriter
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", fake)
    board(tmp_path)(POINT)
    folder = str(tmp_path)
    assert written == [(folder, "loss", 0.5, 7), (folder, "gain", 0.25, 7), "flushed"]
