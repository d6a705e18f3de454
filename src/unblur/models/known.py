"""The networks that no preset is named after: what finds flow and focus in frames."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from torch import Tensor, nn

from unblur.models import load_state
from unblur.models.coc import CocConfig, CocNet, alone, with_encoder
from unblur.models.flow_refocus import FlowRefocus, small_config
from unblur.models.flow_s import FlowS
from unblur.models.look import Look
from unblur.models.raft import Raft, RaftConfig
from unblur.weights.difference import load_whole

State = Mapping[str, Tensor]


def _refocus(state: State) -> FlowRefocus:
    return FlowRefocus(small_config(state))


GUIDES: dict[str, Callable[[State], nn.Module]] = {
    "coc-s": lambda _: CocNet(),
    "coc-m": lambda _: CocNet(CocConfig(encoder="motion-s")),
    "flow-refocus-m": _refocus,
    "flow-refocus-s": _refocus,
    "flow-s": lambda _: FlowS(),
    "look-s": lambda _: Look(),
    "raft-things": lambda _: Raft(RaftConfig()),
}
"""Networks by the name of their weights."""


def fits_guide(name: str, path: Path) -> bool:
    """Whether `name` is one of these networks; the weights in a file are then tried in it.

    Raises:
        WeightsError: they do not fit.
    """
    if name not in GUIDES:
        return False
    state = load_whole(path, with_encoder)
    if name == "coc-m":
        state = alone(state)
    load_state(GUIDES[name](state), state, str(path))
    return True
