"""One loop that trains every network: recipes, losses, averaging, checkpoints, validation.

Imports nothing of `video`, so that it runs on machines that have PyTorch and little else.
"""

from __future__ import annotations

import sys
from types import ModuleType

from unblur.train.loop import Outcome, Point
from unblur.train.recipe import Recipe
from unblur.train.start import train

__all__ = ["Outcome", "Point", "Recipe", "train"]


class _CallableModule(ModuleType):
    """Lets `unblur.train(...)` be called: importing a room puts it where the function was."""

    __call__ = staticmethod(train)


sys.modules[__name__].__class__ = _CallableModule
