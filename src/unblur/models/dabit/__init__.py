"""DaBiT: video deblurring of missed or shifting focus, guided by depth and blur."""

from unblur.models.dabit.config import OFFICIAL, PAPER, SMALL, TINY, DabitConfig
from unblur.models.dabit.net import Dabit

__all__ = ["OFFICIAL", "PAPER", "SMALL", "TINY", "Dabit", "DabitConfig"]
