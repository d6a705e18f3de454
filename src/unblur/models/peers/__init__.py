"""Networks of other papers, narrow, that ours are trained beside for a table. They do not ship."""

from __future__ import annotations

from unblur.models.peers.basicvsrpp import BasicVSRPP, BasicVSRPPConfig
from unblur.models.peers.nafnet import NAFNet, NAFNetConfig

__all__ = ["BasicVSRPP", "BasicVSRPPConfig", "NAFNet", "NAFNetConfig"]
