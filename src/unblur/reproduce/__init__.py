"""The tables and figures of the three papers: what each needs, what is there, and running it."""

from __future__ import annotations

from unblur.reproduce.papers import PAPERS
from unblur.reproduce.run import reproduce

__all__ = ["PAPERS", "reproduce"]
