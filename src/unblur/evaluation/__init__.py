"""One harness for every comparison: suites of clips, methods that restore them, one table.

A suite is a named function that gives clips (`suites.SUITES`), a method a function from a clip to
its restored frames (`methods`), a column a function from images to numbers (`scores.COLUMNS`).
"""

from __future__ import annotations

from unblur.evaluation.clip import Blur, Clip
from unblur.evaluation.run import evaluate
from unblur.evaluation.scores import Evaluation, Score
from unblur.evaluation.suites import SUITES, Suite

__all__ = ["SUITES", "Blur", "Clip", "Evaluation", "Score", "Suite", "evaluate"]
