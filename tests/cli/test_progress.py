"""What the command line shows of a job while it runs."""

from __future__ import annotations

import io
import sys
from types import SimpleNamespace

import pytest

import unblur
from unblur.cli.atlas_fit import fit_bar
from unblur.cli.progress import Log, duration, reporter, share_of, status
from unblur.cli.terminal import terminal


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.6, "1 min 00 s"),
        (151, "2 min 31 s"),
        (3900, "1 h 05 min"),
    ],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


class FakeTerminal(io.StringIO):
    def isatty(self):
        return True


PLAN = unblur.Plan("motion-m", "cpu", "bf16", 36, "frames", 640, 360, seconds=150.0)


def test_the_bar_shows_the_stage_and_the_time_left_of_the_job(monkeypatch):
    monkeypatch.setattr(terminal, "json", False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    screen = FakeTerminal()
    monkeypatch.setattr(sys, "stderr", screen)
    with reporter(wanted=True) as progress:
        progress(unblur.Progress("restore", 9, 36, 0.25, 108.0, 36.0, 0.25, PLAN))
        progress.view.show(progress.now, 0.0)
    said = screen.getvalue()
    assert "motion-m on cpu in bf16, 36 frames of 640x360, about 2 min" in said
    assert "restoring" in said
    assert "25%  9/36 frames, 4.0 s/frame, 1 min 48 s left" in said


def test_the_bar_goes_on_within_a_frame():
    now = unblur.Progress("restore", 9, 36, 0.25, 108.0, 36.0, 0.25, PLAN)
    assert share_of(now, 0.0) == pytest.approx(0.25)
    assert share_of(now, 14.4) == pytest.approx(0.35)
    assert "1 min 34 s left" in status(now, 14.4)
    assert share_of(now, 1000.0) <= 1


def test_a_log_gets_lines_and_not_too_many(monkeypatch, capsys):
    clock = [0.0]
    monkeypatch.setattr("unblur.cli.progress.time.monotonic", lambda: clock[0])
    log = Log()
    for second in range(1, 1001):
        clock[0] = float(second)
        share = second / 1000
        log.show(unblur.Progress("restore", second, 1000, 1.0, 1000.0 - second, second, share), 0.0)
    lines = capsys.readouterr().err.splitlines()
    assert 30 <= len(lines) <= 36
    assert lines[0] == "unblur: restoring 3 %: 30/1000 frames, 1.00 frames/s, 16 min 10 s left"


def test_the_bar_of_a_fit_shows_steps_likeness_and_time_left(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    screen = FakeTerminal()
    monkeypatch.setattr(sys, "stderr", screen)
    with fit_bar(wanted=True) as progress:
        progress(SimpleNamespace(step=100, steps=340, psnr=31.27, seconds=10.0))
    assert "100/340 steps, 31.3 dB like the clip, 24 s left" in screen.getvalue()


def test_quiet_is_quiet(monkeypatch, capsys):
    monkeypatch.setattr(terminal, "json", False)
    with reporter(wanted=False) as progress:
        progress(unblur.Progress("restore", 9, 36, 0.25, 108.0, 36.0, 0.25, PLAN))
    assert capsys.readouterr() == ("", "")
