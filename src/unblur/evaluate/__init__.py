"""One harness for every comparison: suites of clips, methods that restore them, one table.

A suite is a named function that gives clips (`suites.SUITES`), a method a function from a clip to
its restored frames (`methods`), a column a function from pictures to numbers (`scores.COLUMNS`).
"""

from __future__ import annotations

import sys
from types import ModuleType

from unblur.evaluate.clip import Blur, Clip
from unblur.evaluate.run import evaluate
from unblur.evaluate.scores import Evaluation, Score
from unblur.evaluate.suites import SUITES, Suite

__all__ = ["SUITES", "Blur", "Clip", "Evaluation", "Score", "Suite", "evaluate"]


class _CallableModule(ModuleType):
    """Lets `unblur.evaluate(...)` be called: importing a room puts it where the function was."""

    __call__ = staticmethod(evaluate)


sys.modules[__name__].__class__ = _CallableModule
