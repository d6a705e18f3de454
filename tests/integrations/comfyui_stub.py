"""What ComfyUI's documentation says of nodes and workflows, as far as nodes can tell.

Nodes: docs.comfy.org, "custom nodes: properties, datatypes". Workflows: what "Export (API)" writes.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch

NUMBERS = {"INT": int, "FLOAT": float, "STRING": str, "BOOLEAN": bool}


class Core:
    """The nodes of ComfyUI itself that the example uses, over a clip of the test's."""

    def __init__(self, images: torch.Tensor) -> None:
        self.images = images
        self.saved: Any = None
        self.shown: list[Any] = []

    def run(self, kind: str, given: dict[str, Any]) -> tuple[Any, ...] | None:
        """Runs a core node; None where it is none."""
        if kind == "LoadVideo":
            return ("video",)
        if kind == "GetVideoComponents":
            return self.images, {"waveform": None, "sample_rate": 48000}, 24.0
        if kind == "CreateVideo":
            check_value("IMAGE", given["images"])
            return ({"images": given["images"], "fps": given["fps"]},)
        if kind == "SaveVideo":
            self.saved = given["video"]
            return ()
        if kind == "PreviewAny":
            self.shown.append(given["source"])
            return ()
        return None


def check_class(name: str, node: type) -> None:
    """What ComfyUI reads of a class of nodes when it loads it."""
    kinds = node.INPUT_TYPES()
    assert inspect.ismethod(node.INPUT_TYPES), name
    assert set(kinds) <= {"required", "optional", "hidden"}
    assert isinstance(node.RETURN_TYPES, tuple)
    assert all(isinstance(kind, str) for kind in node.RETURN_TYPES)
    assert len(node.RETURN_NAMES) == len(node.RETURN_TYPES)
    assert isinstance(node.CATEGORY, str)
    method = inspect.signature(getattr(node(), node.FUNCTION)).parameters
    own = {**kinds["required"], **kinds.get("optional", {})}
    assert list(method) == list(own), name
    for each, parameter in method.items():
        optional = each in kinds.get("optional", {})
        assert optional == (parameter.default is not inspect.Parameter.empty), each
    for each, (kind, *rest) in own.items():
        options = rest[0] if rest else {}
        if isinstance(kind, list):
            assert kind, each
            assert options.get("default", kind[0]) in kind, each
        elif "default" in options:
            check_widget(each, kind, options["default"], options)


def check_widget(name: str, kind: str, value: Any, options: dict[str, Any]) -> None:
    """A value that a person enters."""
    assert isinstance(value, NUMBERS[kind] if kind != "FLOAT" else (int, float)), name
    assert options.get("min", value) <= value <= options.get("max", value), name


def check_value(kind: str, value: Any) -> None:
    """What travels from node to node."""
    if kind == "IMAGE":
        assert value.ndim == 4
        assert value.shape[-1] == 3
        assert value.dtype == torch.float32
        assert 0 <= float(value.min()) <= float(value.max()) <= 1
        assert value.is_contiguous()
    elif kind == "MASK":
        assert value.ndim == 3
        assert 0 <= float(value.min()) <= float(value.max()) <= 1
    elif kind == "STRING":
        assert isinstance(value, str)


def execute(workflow: dict[str, Any], nodes: dict[str, type], core: Core) -> dict[str, Any]:
    """Runs a workflow as it is exported for the API; the outputs of each node."""
    done: dict[str, Any] = {}

    def result(number: str) -> tuple[Any, ...]:
        if number not in done:
            done[number] = run(workflow[number])
        return done[number]

    def run(node: dict[str, Any]) -> tuple[Any, ...]:
        given = {
            name: result(value[0])[value[1]] if isinstance(value, list) else value
            for name, value in node["inputs"].items()
        }
        of_core = core.run(node["class_type"], given)
        if of_core is not None:
            return of_core
        kind = nodes[node["class_type"]]
        kinds = kind.INPUT_TYPES()
        own = {**kinds["required"], **kinds.get("optional", {})}
        assert kinds["required"].keys() <= given.keys() <= own.keys()
        for name, (wanted, *rest) in own.items():
            if isinstance(wanted, list):
                assert given[name] in wanted, name
            elif name in given and wanted in NUMBERS:
                check_widget(name, wanted, given[name], rest[0] if rest else {})
            elif name in given:
                check_value(wanted, given[name])
        made = getattr(kind(), kind.FUNCTION)(**given)
        assert isinstance(made, tuple)
        assert len(made) == len(kind.RETURN_TYPES)
        for each, value in zip(kind.RETURN_TYPES, made, strict=True):
            check_value(each, value)
        return made

    for number in workflow:
        result(number)
    return done
