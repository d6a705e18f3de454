"""BSSTNet: blur-aware video deblurring."""

from unblur.models.bsstnet.config import OFFICIAL, PAPER, SMALL, TINY, BSSTNetConfig
from unblur.models.bsstnet.net import BSSTNet

__all__ = ["OFFICIAL", "PAPER", "SMALL", "TINY", "BSSTNet", "BSSTNetConfig"]
