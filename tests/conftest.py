"""Fixtures every test may use."""

from __future__ import annotations

import os
import re
from collections.abc import Generator
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from tests import placing, pretend

# How long an example takes depends on what else the machine does.
settings.register_profile("unblur", deadline=None)
settings.load_profile("unblur")

# Tests run side by side, a process for each core: more threads would only wait for each other.
for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")


def pytest_addoption(parser: pytest.Parser) -> None:
    """`pytest --device cuda`: tests about tensors run there."""
    parser.addoption("--device", default="cpu", help="where tensors of tests live; see placing.py")


def pytest_configure(config: pytest.Config) -> None:
    """Tensors and networks of tests go where `--device` says."""
    name = config.getoption("--device")
    if name == "cpu":
        return
    there = ExitStack()
    config.add_cleanup(there.close)
    if name == pretend.NAME:
        there.enter_context(pretend.pretending())
    there.enter_context(placing.placed(torch.device(name)))


LIBRARIES = {"av": "PyAV", "cv2": "OpenCV"}
"""What machines with a GPU may lack: tests that need it are skipped there."""
LACKING = {name for name in LIBRARIES if find_spec(name) is None}


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Files of tests that import what is lacking are skipped."""
    report = yield
    for name in LACKING if report.failed else ():
        if re.search(rf"No module named '{name}|import of {name} halted", str(report.longrepr)):
            report.outcome = "skipped"
            report.longrepr = (str(collector.path), 0, f"Skipped: needs {LIBRARIES[name]}")
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """So are tests that use it."""
    try:
        return (yield)
    except ModuleNotFoundError as error:
        if error.name not in LACKING:
            raise
        pytest.skip(f"needs {LIBRARIES[error.name]}")


@pytest.fixture(scope="session")
def device(request: pytest.FixtureRequest) -> torch.device:
    """Where a test puts its tensors: see `--device`."""
    return torch.device(request.config.getoption("--device"))


GOLDENS = Path(__file__).parent / "goldens"


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder with the large goldens and real footage; a bare clone has none and skips."""
    folder = Path(os.environ.get("UNBLUR_SHARED", Path(__file__).parents[2] / "shared"))
    if not (folder / "goldens").is_dir():
        pytest.skip("needs the shared folder with goldens and footage (set UNBLUR_SHARED)")
    return folder


@pytest.fixture(scope="session")
def goldens() -> Path:
    """The small reference outputs that lie in the repository."""
    return GOLDENS
