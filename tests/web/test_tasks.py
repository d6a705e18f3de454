"""What the processes of the server do, done here: real clips, real projects."""

from __future__ import annotations

import errno
import io
import json
import shutil
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
import torch

pytest.importorskip("fastapi", reason="needs the extra web")

import unblur
from tests.atlas import analytic
from unblur import weights
from unblur.commands import restore_file, unfinished
from unblur.errors import MediaError, ResourceError, UsageError
from unblur.ops.color import from_linear
from unblur.restorers.maxim import MaximRestorer as Alone
from unblur.restorers.registry import PRESETS
from unblur.video import ColorTags
from unblur.web import requests, tasks
from unblur.web.desk import Desk
from unblur.web.looking import Looker
from unblur.web.views import shown, write_view

NUMBER = "0" * 16
ALONE = "maxim-stage1"
"""A network that sees one frame at a time."""
LIMITS = {"device": "cpu", "max_memory": None, "max_pixels": 10**6, "max_frames": 100}
BOUNDS = {"max_pixels": 10**6, "max_frames": 100, "cache": 10**7}


@pytest.fixture(autouse=True)
def all_containers() -> Iterator[None]:
    """The processes open few containers; what comes after opens all again."""
    from unblur.video.probe import only_demuxers

    yield
    only_demuxers(())


def write_clip(
    path: Path, frames: int = 6, size: tuple[int, int] = (64, 48), **options: Any
) -> Path:
    """A clip of moving blocks."""
    rng = np.random.default_rng(0)
    still = np.kron(rng.integers(0, 256, (30, 40, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=10)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv444p" if size[0] % 2 or size[1] % 2 else "yuv420p"
        for n in range(frames):
            cut = np.ascontiguousarray(still[: size[1], 3 * n : 3 * n + size[0]])
            frame = av.VideoFrame.from_ndarray(cut, format="rgb24")
            frame.pts, frame.time_base = n, Fraction(1, 10)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return path


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_clip(tmp_path / "source.mp4")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("projects") / "layers"
    analytic.project(frames=4).save(folder)
    return folder


@pytest.fixture
def do(tmp_path: Path) -> Callable[..., tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Does a job; its facts, and the events it reported."""

    def doing(
        source: Path,
        kind: str,
        paint: dict[str, str] | None = None,
        voice: io.StringIO | None = None,
        **given: Any,
    ) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        model = getattr(requests, kind.capitalize())
        place = "project" if kind in ("export", "flow") else "clip"
        request = model(**{"kind": kind, place: NUMBER, **given}).model_dump()
        out, voice = tmp_path / "out", voice or io.StringIO()
        out.mkdir(exist_ok=True)
        order = {
            "request": request,
            "source": str(source),
            "name": "film.mp4",
            "out": str(out),
            "home": str(tmp_path),
            "limits": LIMITS,
            "paint": paint or {},
        }
        facts = tasks.do(Desk(order, voice))
        return facts, [json.loads(line) for line in voice.getvalue().splitlines()]

    return doing


def roles(events: list[dict[str, Any]]) -> dict[str, str]:
    return {e["role"]: e["name"] for e in events if e["event"] == "file"}


def images(path: Path) -> torch.Tensor:
    """(T, 3, H, W)."""
    from unblur.video import open_video

    with open_video(path) as reader:
        return torch.stack([frame.rgb() for frame in reader])


def test_restore_makes_a_result_and_two_copies_to_play(do, clip: Path, tmp_path: Path) -> None:
    facts, events = do(
        clip, "restore", model="none", start="f1", end="f4", container="mkv", codec="ffv1"
    )
    made = roles(events)
    assert made["result"] == "result.mkv"
    assert facts["frames"] == 3
    out = tmp_path / "out"
    assert torch.equal(images(out / "result.mkv"), images(clip)[1:4])
    before, after = (images(out / made[role]) for role in ("before", "after"))
    assert before.shape == after.shape == (3, 3, 48, 64)
    assert (before - images(clip)[1:4]).abs().mean() < 0.03  # the same frames
    assert (before - after).abs().mean() < 0.02
    shares = [e["share"] for e in events if e["event"] == "progress" and e["share"] is not None]
    assert shares == sorted(shares)
    report = json.loads((out / made["report"]).read_text())
    assert report["clip"] == "film.mp4"
    assert str(tmp_path) not in json.dumps(report)
    assert "https:" not in (out / made["page"]).read_text()


def interrupted(
    monkeypatch: pytest.MonkeyPatch, do: Callable[..., Any], after: int, *given: Any, **more: Any
) -> None:
    """A job whose worker is stopped when some frames are restored."""
    listen = tasks.Bar.listen

    def stop(bar: tasks.Bar, now: unblur.Progress) -> None:
        listen(bar, now)
        if now.stage == "restore" and now.done >= after:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(unfinished, "WORTH", 0.0)
        patched.setattr(tasks.Bar, "listen", stop)
        with pytest.raises(KeyboardInterrupt):
            do(*given, **more)


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of frames that were given back by the network, call by call."""
    counts = []
    run = Alone.run

    def counting(self: Any, frames: Any, guidance: Any, outputs: Any) -> Any:
        counts.append(len(outputs))
        return run(self, frames, guidance, outputs)

    monkeypatch.setattr(Alone, "run", counting)
    return counts


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["restore", "trial"])
def test_a_job_goes_on_where_its_worker_was_stopped(
    do, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, computed: list[int], kind: str
) -> None:
    clip = write_clip(tmp_path / "long.mp4", frames=12)
    wanted = {"model": ALONE}
    if kind == "restore":
        wanted |= {"container": "mkv", "codec": "ffv1"}
    reach = PRESETS[ALONE].info.fuse + 1  # neighbours that a frame is fused with, in two passes
    interrupted(monkeypatch, do, 10, clip, kind, **wanted)
    before = sum(computed)
    facts, events = do(clip, kind, **wanted)
    assert facts["frames"] == 12
    # Ten were restored, and those of them were complete that had all their neighbours.
    assert sum(computed) - before == 12 - (10 - 2 * reach)
    gone_on = images(tmp_path / "out" / roles(events)["after"])
    shutil.rmtree(tmp_path / "out")
    _, events = do(clip, kind, **wanted)
    assert torch.equal(gone_on, images(tmp_path / "out" / roles(events)["after"]))


def test_a_job_begins_anew_where_the_clip_was_replaced(
    do, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = {"model": ALONE, "container": "mkv", "codec": "ffv1"}
    interrupted(monkeypatch, do, 3, clip, "restore", **wanted)
    write_clip(clip, frames=5)
    facts, _ = do(clip, "restore", **wanted)
    assert facts["frames"] == 5
    write_clip(clip, frames=4)  # and once more, where the result was complete
    facts, _ = do(clip, "restore", **wanted)
    assert facts["frames"] == 4


def test_a_job_goes_on_that_failed_on_a_full_disk(
    do, clip: Path, monkeypatch: pytest.MonkeyPatch, computed: list[int]
) -> None:
    wanted = {"model": ALONE, "container": "mkv", "codec": "ffv1"}
    write, voice = restore_file.write, io.StringIO()

    def full(writer: Any, preview: bool, item: Any) -> None:
        if item[0].index == 4:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(writer, preview, item)

    with monkeypatch.context() as patched:
        patched.setattr(unfinished, "WORTH", 0.0)
        patched.setattr(restore_file, "write", full)
        with pytest.raises(OSError, match="No space"):
            do(clip, "restore", voice=voice, **wanted)
    said = [json.loads(line) for line in voice.getvalue().splitlines()]
    warned = [event["message"] for event in said if event["event"] == "warning"]
    assert warned == ["what was done is kept: begun again, the job goes on"]
    before = sum(computed)
    do(clip, "restore", **wanted)
    reach = PRESETS[ALONE].info.fuse + 1
    assert sum(computed) - before == 6 - (4 - reach)


def test_a_result_that_is_complete_is_not_made_again(
    do, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, computed: list[int]
) -> None:
    wanted = {"model": ALONE, "container": "mkv", "codec": "ffv1"}
    with monkeypatch.context() as patched:
        patched.setattr(tasks, "views", stopped)
        with pytest.raises(KeyboardInterrupt):
            do(clip, "restore", **wanted)
    before = sum(computed)
    facts, events = do(clip, "restore", **wanted)
    assert sum(computed) == before
    assert facts["frames"] == 6
    assert {"result", "before", "after", "page", "report"} <= set(roles(events))


def stopped(*given: Any, **more: Any) -> None:
    raise KeyboardInterrupt


def test_preview_is_two_seconds_and_not_past_the_end(do, tmp_path: Path) -> None:
    long = write_clip(tmp_path / "long.mp4", frames=30)
    facts, events = do(long, "preview", model="none", at=5)
    assert facts["frames"] == 20
    facts, events = do(long, "preview", model="none", at=25)
    assert (facts["frames"], set(roles(events))) == (5, {"before", "after"})
    with pytest.raises(UsageError, match="past the end"):
        do(long, "preview", model="none", at=30)


def test_analysis_holds_what_the_timeline_draws(do, clip: Path, tmp_path: Path) -> None:
    _, events = do(clip, "analyze", estimate=False)
    found = json.loads((tmp_path / "out" / roles(events)["analysis"]).read_text())
    assert (found["path"], found["count"]) == ("film.mp4", 6)
    assert {"index", "kind", "motion", "radius", "blockiness"} <= set(found["frames"][0])
    assert {"start", "stop", "model"} <= set(found["shots"][0])


def test_estimate_knows_what_costs_nothing(do, clip: Path) -> None:
    facts, _ = do(clip, "estimate", model="none", end="f4")
    assert (facts["seconds"], facts["frames"]) == (0.0, 4)


def test_estimate_measures(do, clip: Path) -> None:
    facts, _ = do(clip, "estimate", model="motion-s")
    assert facts["seconds"] > 0
    assert facts["memory"] > 0


def test_an_estimate_is_of_the_models_that_shots_will_have(do, clip: Path) -> None:
    kinds = {"sharp": 3, "focus": 2}
    facts, _ = do(clip, "estimate", quality="fast", kinds=kinds)
    assert (facts["model"], facts["frames"]) == ("focus-s", 5)
    more, _ = do(clip, "estimate", quality="fast", kinds={**kinds, "motion": 1})
    assert more["model"] == "focus-s and motion-s"
    nothing, _ = do(clip, "estimate", kinds={"sharp": 6})
    assert (nothing["model"], nothing["seconds"]) == ("none", 0.0)


@pytest.mark.parametrize("blur", ["motion", "focus"])
def test_a_trial_says_how_far_it_is_from_the_truth(
    do, clip: Path, tmp_path: Path, blur: str
) -> None:
    facts, events = do(clip, "trial", model="none", blur=blur, end="f3")
    scores = json.loads((tmp_path / "out" / roles(events)["scores"]).read_text())["frames"]
    assert len(scores) == 3
    assert all(10 < s["blurred"]["psnr"] < 60 for s in scores)
    # nothing was restored: both are equal, but for the codec
    assert facts["psnr_restored"] == pytest.approx(facts["psnr_blurred"], abs=0.01)
    assert set(roles(events)) == {"scores", "sharp", "before", "after", "result"}


def test_a_trial_is_bounded(do, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "TRIAL_FRAMES", 2)
    with pytest.raises(ResourceError, match="choose a part"):
        do(clip, "trial", model="none")


def test_export_renders_what_is_painted(do, project: Path, tmp_path: Path) -> None:
    opened = unblur.atlas.open(project)
    ink = np.zeros((*opened.layers[0].texture.shape[1:], 4), np.uint8)
    ink[...] = (0, 0, 255, 255)
    cv2.imwrite(str(tmp_path / "ink.png"), ink)
    look = {"mode": "edit-over-original", "container": "mkv", "codec": "ffv1"}
    facts, events = do(project, "export", {"foreground": str(tmp_path / "ink.png")}, **look)
    made = images(tmp_path / "out" / roles(events)["result"])
    expected = opened.edit({"foreground": str(tmp_path / "ink.png")}, "over-original")
    assert (made - expected).abs().max() < 0.6 / 255
    assert facts["frames"] == 4
    assert {"before", "after"} <= set(roles(events))


def test_export_refocuses(do, project: Path, tmp_path: Path) -> None:
    look = {"mode": "refocus", "focus": ["foreground@f0", "background@f3"], "aperture": 3}
    _, events = do(project, "export", container="mkv", codec="ffv1", end="f2", **look)
    made = images(tmp_path / "out" / roles(events)["result"])
    opened = unblur.atlas.open(project)
    expected = opened.refocus(look["focus"], [0, 1], aperture=3)
    assert (made - expected).abs().max() < 0.6 / 255


def test_flow_is_written_as_file_and_image(do, project: Path, tmp_path: Path) -> None:
    facts, events = do(project, "flow", first=0, last=3)
    assert set(roles(events)) == {"result", "image", "mask"}
    assert 0 < facts["valid"] <= 1


def test_what_is_too_large_is_refused_before_it_is_decoded(do, tmp_path: Path) -> None:
    large = write_clip(tmp_path / "large.mp4", frames=1, size=(1280, 800))
    with pytest.raises(ResourceError, match="pixels"):
        do(large, "restore", model="none")
    long = write_clip(tmp_path / "long.mp4", frames=101, size=(16, 16))
    with pytest.raises(ResourceError, match="frames"):
        do(long, "restore", model="none")


@pytest.mark.parametrize(
    "content",
    [
        b"ffconcat version 1.0\nfile secret.mp4\n",
        b"#EXTM3U\n#EXTINF:1,\n/etc/hostname\n",
        b"<?xml version='1.0'?><MPD xmlns='urn:mpeg:dash:schema:mpd:2011'></MPD>",
        b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\n",
        b"\x89PNG\r\n\x1a\n" + b"\0" * 64,
        b"GIF89a" + b"\x01\0\x01\0\0\0\0;",
        b"YUV4MPEG2 W4 H4 F25:1\nFRAME\n" + b"\0" * 24,
        b"",
    ],
)
def test_only_containers_of_video_are_opened(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.mp4").write_bytes(content)
    with pytest.raises(MediaError):
        Looker().answer({"what": "clip", "path": str(tmp_path / "a.mp4"), **BOUNDS})


def test_frames_are_those_of_the_clip(clip: Path) -> None:
    looker = Looker()
    facts, _ = looker.answer({"what": "clip", "path": str(clip), **BOUNDS})
    assert (facts["width"], facts["height"], facts["frames"], facts["rate"]) == (64, 48, 6, 10)
    request = {"what": "frame", "path": str(clip), "frame": 4, "exact": True, **BOUNDS}
    facts, data = looker.answer(request)
    assert facts["type"] == "image/png"
    shown = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1]
    expected = (images(clip)[4] * 255).round().clamp(0, 255).permute(1, 2, 0).numpy()
    assert np.array_equal(shown, expected.astype(np.uint8))
    _, small = looker.answer({**request, "exact": False, "width": 32})
    assert cv2.imdecode(np.frombuffer(small, np.uint8), cv2.IMREAD_COLOR).shape == (24, 32, 3)


PQ = ColorTags("bt2020nc", "bt2020", "smpte2084", "tv")
HLG = ColorTags("bt2020nc", "bt2020", "arib-std-b67", "tv")


def gray(value: float) -> torch.Tensor:
    return torch.full((3, 1, 1), value)


def test_diffuse_white_is_the_same_in_pq_hlg_and_on_the_page() -> None:
    # ITU-R BT.2408, table 1: 203 cd/m2 are 58 % of PQ and 75 % of HLG.
    white = from_linear(gray(0.85))
    assert shown(from_linear(gray(203 / 10_000), "smpte2084"), PQ).allclose(white, atol=1e-3)
    assert shown(gray(0.58), PQ).allclose(white, atol=3e-3)
    assert shown(gray(0.75), HLG).allclose(white, atol=3e-3)


@pytest.mark.parametrize("color", [PQ, HLG])
def test_high_dynamic_range_fits_on_the_page_in_its_order(color: ColorTags) -> None:
    steps = torch.linspace(0, 1, 256).expand(3, 1, -1)
    seen = shown(steps, color)
    assert (seen.diff() > 0).all()
    assert seen[:, :, 0].abs().max() < 1e-3
    assert 0.95 < seen.max() <= 1
    assert seen.std(0).max() < 1e-3  # gray stays gray
    red = torch.zeros(3, 1, 1)
    red[0] = 0.7
    vivid = shown(red, color)
    assert vivid[0] > 0.8
    assert 0 <= vivid.min() <= vivid.max() <= 1


def test_ordinary_clips_are_shown_as_they_are_stored() -> None:
    rgb = torch.rand(3, 4, 5) * 1.2 - 0.1
    for transfer in (None, "bt709", "iec61966-2-1", "gamma28"):
        assert torch.equal(shown(rgb, ColorTags(transfer=transfer)), rgb)


def test_a_view_of_pq_is_not_dull(tmp_path: Path) -> None:
    path = tmp_path / "pq.mkv"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("ffv1", rate=10)
        stream.width, stream.height, stream.pix_fmt = 32, 16, "yuv444p10le"
        context = stream.codec_context
        context.colorspace, context.color_primaries, context.color_trc = 9, 9, 16
        context.color_range = 1
        code = round(64 + 876 * 0.58)  # diffuse white
        frame = av.VideoFrame(32, 16, "yuv444p10le")
        for plane, value in zip(frame.planes, (code, 512, 512), strict=True):
            plane.update(np.full((16, plane.line_size // 2), value, np.uint16).tobytes())
        frame.pts, frame.time_base = 0, Fraction(1, 10)
        frame.colorspace, frame.color_range = 9, 1
        file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    assert unblur.probe(path).hdr == "pq"
    write_view(path, tmp_path / "view.mp4")
    expected = float(from_linear(gray(0.85)).mean())
    assert images(tmp_path / "view.mp4").mean() == pytest.approx(expected, abs=0.02)
    _, image = Looker().answer({"what": "frame", "path": str(path), "frame": 0, **BOUNDS})
    still = cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_COLOR)
    assert still.mean() / 255 == pytest.approx(expected, abs=0.02)


def test_a_view_of_odd_size_loses_a_line(tmp_path: Path) -> None:
    odd = write_clip(tmp_path / "odd.mp4", size=(65, 49))
    assert write_view(odd, tmp_path / "view.mp4") == (6, 10.0)
    info = unblur.probe(tmp_path / "view.mp4")
    assert (info.width, info.height, info.pixel_format) == (64, 48, "yuv420p")


def test_images_of_a_project(project: Path) -> None:
    looker = Looker()
    base = {"path": str(project), **BOUNDS}
    facts, _ = looker.answer({"what": "project", **base})
    assert [layer["name"] for layer in facts["layers"]] == ["foreground", "background"]
    assert (facts["width"], facts["height"], facts["frames"]) == (64, 48, 4)
    look = requests.Rendering(mode="sharp").model_dump()
    request = {"what": "image", "frame": 2, "look": look, "paint": {}, "exact": True, **base}
    _, data = looker.answer(request)
    shown = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1] / 255
    expected = unblur.atlas.open(project).render("sharp", [2])[0].permute(1, 2, 0).numpy()
    assert np.abs(shown - expected).max() < 0.51 / 255
    with pytest.raises(UsageError):
        looker.answer({**request, "frame": 4})


def test_a_point_knows_its_layer(project: Path) -> None:
    looker, opened = Looker(), unblur.atlas.open(project)
    alpha = opened.layers[0].alpha[1][0]
    y, x = divmod(int(alpha.argmax()), alpha.shape[1])
    request = {"what": "point", "path": str(project), "frame": 1, **BOUNDS}
    assert looker.answer({**request, "point": (x, y)})[0] == {"layer": "foreground"}
    y, x = divmod(int(alpha.argmin()), alpha.shape[1])
    assert looker.answer({**request, "point": (x, y)})[0] == {"layer": "background"}
    with pytest.raises(UsageError, match="outside"):
        looker.answer({**request, "point": (64, 0)})


def test_a_stop_is_noticed_while_a_job_works(do, clip: Path, monkeypatch) -> None:
    begun = tasks.Bar.listen

    def listen(self: tasks.Bar, now: unblur.Progress) -> None:
        begun(self, now)
        self.desk.stopped.set()

    monkeypatch.setattr(tasks.Bar, "listen", listen)
    with pytest.raises(KeyboardInterrupt):
        do(clip, "restore", model="none")


def test_messages_do_not_tell_where_things_lie(tmp_path: Path) -> None:
    order = {
        "request": {},
        "source": str(tmp_path / "sources" / "ab" / "source.mp4"),
        "name": "film.mp4",
        "out": str(tmp_path / "jobs" / "cd" / "out"),
        "home": str(tmp_path),
        "limits": LIMITS,
    }
    desk = Desk(order, io.StringIO())
    assert desk.in_words(f"{order['source']} is empty") == "film.mp4 is empty"
    assert str(tmp_path) not in desk.in_words(f"cannot write {order['out']}/result.mp4")


def test_messages_hold_no_place_of_the_server(tmp_path: Path) -> None:
    order = {"request": {}, "source": f"{tmp_path}/a.mp4", "name": "film.mp4", "limits": {}}
    desk = Desk({**order, "out": f"{tmp_path}/jobs/1/out", "home": str(tmp_path)}, io.StringIO())
    said = desk.in_words(f"no weights in {weights.user_folder()} for {tmp_path}/a.mp4 --model x")
    assert said == "no weights in the data folder of the server/weights for film.mp4 model x"
