"""One loop that trains every network: recipes, losses, averaging, checkpoints, validation.

Imports nothing of `video`, so that it runs on machines that have PyTorch and little else.
"""

from __future__ import annotations

from unblur.training.loop import Outcome, Point
from unblur.training.recipe import Recipe
from unblur.training.start import train

__all__ = ["Outcome", "Point", "Recipe", "train"]
