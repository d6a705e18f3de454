"""What is seen of a clip: sharp or blurred, by what, where it is cut, what the codec left."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch

import unblur
from unblur.cli import main
from unblur.cli.analyze import found_to_be, summary, why
from unblur.commands import analyze
from unblur.commands.analyze import Crop, Trier, blockiness, kind_of, kind_tried
from unblur.commands.report import as_png, page, timeline
from unblur.commands.request import DEFAULTS, request
from unblur.engine.estimate import Cost
from unblur.guidance.blur_kind import Looker, detail_of, noise, weighted_quantile
from unblur.models.look import CELL, Look, about
from unblur.ops.shots import Shot
from unblur.progress import Job
from unblur.video.codecs import CODECS

NOT_NAMED = ("weights", "scale", "depth", "tile", "window", "max_memory")
EXAMPLES = Path(__file__).parents[2] / "examples"


def noisy(height, width, seed=0):
    return torch.rand(3, height, width, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def joined(tmp_path_factory):
    """Six frames of the sharp demo clip, then six of the shaken one, upside down and negative."""
    path = tmp_path_factory.mktemp("clips") / "joined.mkv"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("ffv1", rate=24)
        stream.width, stream.height, stream.pix_fmt = 320, 180, "yuv420p"
        for name, flip in (("sharp", False), ("blurred", True)):
            with av.open(str(EXAMPLES / f"demo_{name}.mp4")) as source:
                for n, frame in enumerate(source.decode(video=0)):
                    if 10 <= n < 16:
                        rgb = frame.to_ndarray(format="rgb24")[90:270, 160:480]
                        rgb = np.ascontiguousarray(255 - rgb[::-1] if flip else rgb)
                        shown = av.VideoFrame.from_ndarray(rgb, format="rgb24")
                        shown.pts, shown.time_base = n - 10 + 6 * flip, Fraction(1, 24)
                        file.mux(stream.encode(shown))
        file.mux(stream.encode(None))
    return path


@pytest.fixture(scope="module")
def found(joined):
    return unblur.analyze(joined, estimate=False)


def test_shots_are_told_with_what_blurred_them(found):
    assert [(s.start, s.stop) for s in found.shots] == [(0, 6), (6, 12)]
    assert [s.kind for s in found.shots] == ["sharp", "motion"]
    assert found.shots[0].model == "none"
    assert found.shots[1].model == "motion-m"
    assert found.kind == "motion"
    assert found.shots[1].motion > found.shots[0].motion
    assert found.sharp_ranges[0][0] == 0
    assert found.sharp_ranges[0][1] >= 6
    assert found.cells[0].motion.shape == (6, 10)


def test_trials_and_short_runs_have_progress_of_their_own(joined):
    said = []
    found = unblur.analyze(joined, progress=said.append)
    stages = list(dict.fromkeys(p.stage for p in said))
    assert stages == ["look through", "try", "measure"]
    tried = [p for p in said if p.stage == "try"]
    trials = 2 * len(found.frames)  # both models, on a piece of each frame that was looked at
    assert {p.total for p in tried} == {trials}
    assert [p.done for p in tried] == list(range(trials + 1))
    assert [p.done for p in said if p.stage == "measure"] == [0, 1, 2]
    assert [(e.quality, e.model) for e in found.estimates] == [
        ("fast", "motion-s"),
        ("best", "motion-m"),
    ]


@pytest.mark.parametrize(
    ("seconds", "quality", "model"), [(80, "best", "motion-m"), (101, "fast", "motion-s")]
)
def test_what_is_recommended_is_what_restore_takes(joined, monkeypatch, seconds, quality, model):
    """Six frames are blurred: the best is taken if they are done in ten minutes."""
    slow = {"motion-s": Cost(run=1.0), "motion-m": Cost(run=seconds)}
    for place in ("cost", "request"):
        monkeypatch.setattr(
            f"unblur.commands.{place}.cost_per_frame", lambda r, *_: slow[r.info.name]
        )
    found = unblur.analyze(joined)
    assert found.quality == quality
    assert [shot.model for shot in found.shots] == ["none", model]
    said = []
    kinds = [shot.kind for shot in found.shots]
    shots = [Shot(shot.start, shot.stop) for shot in found.shots]
    wanted = request({**DEFAULTS, **dict.fromkeys(NOT_NAMED), "progress": said.append})
    assert wanted.runner_by_shot(Job(None), (180, 320), shots, kinds, None).models == (
        "none",
        model,
    )
    lines = summary(found)
    assert [line for line in lines if "taken by default" in line] == [
        line for line in lines if line.startswith(f"--quality {quality} ({model}): about ")
    ]
    assert sum("for the 6 frames that need it" in line for line in lines) == 2
    assert found.estimates[0].memory > CODECS["h264"].encoder_bytes(320 * 180 * 3 // 2, 6) > 1e6


def test_the_bar_does_not_stand_at_its_end_while_models_are_tried(joined):
    said = []
    unblur.analyze(joined, estimate=False, progress=said.append)
    shares = [p.share for p in said]
    assert shares == sorted(shares)
    looked = [p.share for p in said if p.stage == "look through"]
    assert 0 < looked[-1] < 0.8


def test_a_clip_that_only_looks_blurred_is_said_to_pass(found):
    shots = tuple(replace(shot, kind="sharp") for shot in found.shots)
    frames = tuple(replace(frame, kind="focus") for frame in found.frames)
    text = found_to_be(replace(found, kind="sharp", shots=shots, frames=frames))
    assert text == "100% of the frames look blurred, but models on trial hardly changed them"
    frames = tuple(replace(frame, kind="sharp") for frame in found.frames)
    text = found_to_be(replace(found, kind="motion", frames=frames))
    assert text == "looks sharp; models on trial found motion blur"


def test_a_shot_that_looks_otherwise_than_it_is_restored_says_why(found):
    shot = found.shots[1]
    assert why(replace(shot, looks="focus", kind="motion")) == "(on trial models found motion blur)"
    assert why(replace(shot, looks="motion", kind="sharp")) == "(on trial models hardly changed it)"
    assert "a missed focus" in why(replace(shot, looks="sharp", kind="focus"))
    assert why(replace(shot, looks="both", kind="both")) == ""


def test_the_report_is_whole_and_fetches_nothing(found):
    text = page(found, ["1 < 2"])
    assert "http" not in text
    assert "1 &lt; 2" in text
    assert text.count("<tr>") == 1 + len(found.shots)
    assert timeline(found).std() > 10


def test_the_command_writes_table_json_and_report(joined, tmp_path, capsys):
    report = tmp_path / "look.png"
    words = ["analyze", str(joined), "--no-estimate", "-q", "--end", "f3"]
    assert main([*words, "--report", str(report)]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("joined.mkv: 3 frames of 320x180")
    assert err == ""
    assert report.read_bytes().startswith(b"\x89PNG")
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["shots"][0]["kind"] == "sharp"
    assert main([*words, "--report", "look.pdf"]) == 2


def test_a_report_replaces_nothing_unasked_and_never_the_input(tmp_path, capsys):
    image, report = tmp_path / "in.png", tmp_path / "look.html"
    image.write_bytes(as_png(np.full((40, 48, 3), 90, np.uint8)))
    before = image.read_bytes()
    words = ["analyze", str(image), "--no-estimate", "-q"]
    assert main([*words, "--report", str(image), "--overwrite"]) == 2
    assert "is the input itself" in capsys.readouterr().err
    assert image.read_bytes() == before
    report.write_text("mine")
    assert main([*words, "--report", str(report)]) == 2
    assert report.read_text() == "mine"
    assert main([*words, "--report", str(report), "--overwrite"]) == 0
    assert report.read_text().startswith("<!doctype html>")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.png", "look.html"]


def looks(frame, neighbour, flow):
    torch.manual_seed(0)
    with torch.no_grad():
        return Look().eval()(frame, neighbour, flow)


def test_contrast_and_brightness_say_nothing_of_blur():
    frame, flow = noisy(64, 96)[:1, None].expand(1, 1, 64, 96), torch.ones(1, 2, 16, 24)
    strong, weak = looks(frame, frame, flow), looks(0.3 + frame / 2, 0.3 + frame / 2, flow)
    assert strong.cells.shape == (1, 4, 64 // CELL, 96 // CELL)
    torch.testing.assert_close(strong.cells, weak.cells, rtol=0, atol=0.1 * strong.cells.std())
    torch.testing.assert_close(strong.kinds, weak.kinds, rtol=0, atol=0.1)


def test_motion_there_and_back_has_one_direction():
    flow = torch.randn(1, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    there, back = about(flow), about(-flow)
    torch.testing.assert_close(there[:, :3], back[:, :3])
    torch.testing.assert_close(there[:, 3:], -back[:, 3:])


@pytest.mark.parametrize("size", [(1, 1), (7, 70), (33, 31)])
def test_frames_of_any_size(size):
    looker, frame = Looker(), noisy(*size)
    for neighbour in (frame.flip(-1), None):
        looked = looker(frame, neighbour)
        shape = tuple(-(-side // CELL) for side in size)
        assert looked.motion.shape == looked.radius.shape == looked.detail.shape == shape
        assert all(0 < chance < 1 for chance in looked.chance)
        assert looked.most(looked.motion) >= 0


def test_detail_is_where_edges_are():
    luma = torch.zeros(1, 1, 64, 96)
    luma[..., :32, 40:44] = 1
    detail = detail_of(luma)
    assert detail.shape == (2, 3)
    assert divmod(int(detail.argmax()), 3) == (0, 1)


def test_noise_is_measured():
    flat = torch.linspace(0.2, 0.8, 128).expand(1, 1, 128, 128)
    noise_of = torch.randn(1, 1, 128, 128, generator=torch.Generator().manual_seed(1))
    for sigma in (0.005, 0.02):
        assert float(noise(flat + sigma * noise_of)) == pytest.approx(sigma, rel=0.1)


def test_blocks_stand_out():
    smooth = torch.linspace(0, 1, 128).expand(3, 96, 128) + 0.01 * noisy(96, 128)
    blocks = smooth[:, ::8, ::8].repeat_interleave(8, 1).repeat_interleave(8, 2)
    assert blockiness(smooth) < 0.1
    assert blockiness(smooth + 0.3 * (blocks - smooth)) > 1


def test_a_frame_is_judged_with_those_beside_it_in_its_shot(found):
    chances = [0.9, 0.3, 0.9, 0.1, 0.1]
    frames = [
        replace(found.frames[0], index=n, chance_motion=chance, chance_focus=0.2)
        for n, chance in enumerate(chances)
    ]
    steadied = analyze.steadied(frames, [(0, 3), (3, 5)])
    assert [look.kind for look in steadied] == ["motion"] * 3 + ["sharp"] * 2
    assert [look.chance_focus for look in steadied] == pytest.approx([0.2] * 5)
    assert [look.chance_motion for look in steadied[3:]] == pytest.approx([0.1] * 2)
    assert analyze.steadied(frames, [(n, n + 1) for n in range(5)])[1].kind == "sharp"


def test_kinds_follow_from_chances():
    chances = [(0.1, 0.1), (0.9, 0.1), (0.1, 0.9), (0.9, 0.9)]
    assert [kind_of(*c) for c in chances] == ["sharp", "motion", "focus", "both"]


def test_what_restorers_change_decides_the_kind_of_a_shot():
    for kind in ("sharp", "motion", "focus", "both"):
        assert kind_tried(kind, 50, 60) == "sharp"
        assert kind_tried(kind, 35, 30) == "focus"
    assert [kind_tried(k, 41, 50) for k in ("sharp", "motion")] == ["sharp", "motion"]
    # A twentieth of the frame alone does not make a shot blurred that looks sharp.
    assert [kind_tried(k, 30, 28, 0.05) for k in ("sharp", "motion")] == ["sharp", "motion"]
    assert kind_tried("sharp", 28, 26, 0.25) == "focus"
    tried = [kind_tried(k, 32, 30) for k in ("sharp", "motion", "focus", "both")]
    assert tried == ["focus", "motion", "focus", "both"]
    assert [kind_tried(k, 30, 32) for k in ("sharp", "focus")] == ["motion", "focus"]


def test_the_part_that_is_tried_is_blurred_and_has_detail(monkeypatch):
    tried: list[torch.Tensor] = []

    class Watched(Trier):
        def __init__(self, where: torch.device) -> None:
            """Without models."""

        def __call__(self, kind, pieces, tick):
            tried.extend(piece.rgb / 255 for piece in pieces)
            return kind

    monkeypatch.setattr("unblur.commands.analyze.Trier", Watched)
    left = noisy(256, 256)
    right = torch.nn.functional.avg_pool2d(noisy(256, 256)[None], 9, 1, 4)[0]
    right = 0.5 + 4 * (right - 0.5)  # as much contrast as the blur leaves a photograph
    frame = torch.cat((left, right.clamp(0, 1)), -1)
    unblur.analyze([(255 * frame).round().byte().permute(1, 2, 0).numpy()] * 2, estimate=False)
    assert tried
    for piece in tried:
        steps = (piece[..., 1:] - piece[..., :-1]).abs().mean()
        assert steps < 0.1, "a part of the sharp half, whose detail is denser, was tried"


def test_the_densest_part_of_a_frame_is_tried():
    frame, detail = torch.zeros(3, 200, 300), torch.zeros(7, 10)
    frame[:, 150:, 250:], detail[5:, 8:] = 1.0, 1.0
    piece = Crop.of(0, frame, detail)
    assert piece.rgb.shape == (3, 128, 128)
    assert bool((piece.rgb[:, 78:, 78:] == 255).all())
    assert piece.share == pytest.approx(128**2 / (200 * 300))
    assert Crop.of(0, torch.rand(3, 5, 40), torch.ones(1, 2)).rgb.shape == (3, 5, 40)


def test_quantiles_count_by_weight():
    values, weight = torch.tensor([3.0, 1.0, 2.0]), torch.tensor([0.0, 1.0, 1.0])
    assert [weighted_quantile(values, weight, level) for level in (0.1, 0.5, 0.9)] == [1, 1, 2]
