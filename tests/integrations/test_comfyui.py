"""The nodes as ComfyUI would load and run them, and the example workflow."""

from __future__ import annotations

import importlib.util
import json
import sys
import types
from pathlib import Path

import pytest
import torch

import unblur
from tests.integrations.comfyui_stub import Core, check_class, execute
from unblur.integrations import comfyui

EXAMPLES = Path(__file__).parents[2] / "examples" / "comfyui"


@pytest.fixture
def images():
    """A batch (B, H, W, 3): a texture that moves."""
    drawn = torch.Generator().manual_seed(0)
    rough = torch.rand(1, 3, 12, 24, generator=drawn)
    wide = torch.nn.functional.interpolate(rough, scale_factor=4, mode="bicubic").clamp(0, 1)[0]
    return (
        torch.stack([wide[:, :, 2 * t : 2 * t + 64] for t in range(5)]).movedim(1, -1).contiguous()
    )


@pytest.fixture
def nodes():
    """The mappings, found as ComfyUI finds them: in a folder of `custom_nodes`."""
    spec = importlib.util.spec_from_file_location("unblur_nodes", EXAMPLES / "unblur/__init__.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.NODE_CLASS_MAPPINGS.keys() == module.NODE_DISPLAY_NAME_MAPPINGS.keys()
    return module.NODE_CLASS_MAPPINGS


def test_classes_are_what_comfyui_expects(nodes):
    for name, node in nodes.items():
        check_class(name, node)


def test_the_example_workflow_restores_a_video(nodes, images, monkeypatch):
    said = []
    utils, management = types.ModuleType("comfy.utils"), types.ModuleType("comfy.model_management")

    class ProgressBar:
        def __init__(self, total):
            self.total = total

        def update_absolute(self, value, total=None):
            said.append(value)

    utils.ProgressBar = ProgressBar
    management.throw_exception_if_processing_interrupted = lambda: None
    for module in (types.ModuleType("comfy"), utils, management):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    workflow = json.loads((EXAMPLES / "restore_video.json").read_text())
    workflow["3"]["inputs"]["name"] = "maxim-stage1"  # the quick one
    core = Core(images)
    execute(workflow, nodes, core)
    expected = unblur.restore(images.movedim(-1, 1), model="maxim-stage1")
    torch.testing.assert_close(core.saved["images"], expected.movedim(1, -1).clamp(0, 1))
    assert core.saved["fps"] == 24.0
    assert said == sorted(said)
    assert said[-1] <= len(images)
    assert core.shown[0].startswith("frames 0 to 4: ")


def test_a_job_that_is_cancelled_ends(images, monkeypatch):
    class CancelledError(Exception):
        pass

    def interrupt():
        raise CancelledError

    utils, management = types.ModuleType("comfy.utils"), types.ModuleType("comfy.model_management")
    utils.ProgressBar = lambda total: types.SimpleNamespace(update_absolute=lambda *_: None)
    management.throw_exception_if_processing_interrupted = interrupt
    for module in (types.ModuleType("comfy"), utils, management):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    model = unblur.load_model("none")
    with pytest.raises(CancelledError):
        comfyui.Restore().restore(images, model, 1.0, "auto", "off")


def test_maps_and_blur_on_purpose(nodes, images):
    workflow = {
        "1": {"class_type": "GetVideoComponents", "inputs": {"video": "x"}},
        "2": {
            "class_type": "UnblurSimulate",
            "inputs": {
                "images": ["1", 0], "blur": "motion", "exposure": 1.0, "shake": 0.0,
                "radius": 4.0, "focus": "near@f0 far@f4", "seed": 0,
            },
        },
        "4": {
            "class_type": "UnblurMaps",
            "inputs": {"images": ["3", 0], "look": "blur", "depth": "builtin"},
        },
    }  # fmt: skip
    focus = {**workflow["2"]["inputs"], "blur": "focus"}
    workflow["3"] = {"class_type": "UnblurSimulate", "inputs": focus}
    done = execute(workflow, nodes, Core(images))
    moved, unfocused = done["2"][0], done["3"][0]
    across = [float(x.diff(dim=2).abs().mean()) for x in (images, moved)]
    down = [float(x.diff(dim=1).abs().mean()) for x in (images, moved)]
    assert across[1] / across[0] < down[1] / down[0]  # it moves across, and blurs so
    shown, mask = done["4"]
    assert mask.shape == images.shape[:3]
    assert torch.equal(shown[..., 0], mask)
    top, bottom = mask[0, :12].mean(), mask[0, -12:].mean()
    assert float(top) > float(bottom)  # near is in focus at first, far is at the top
    assert unfocused.shape == images.shape
