"""The page in a real browser, with the real server: what an editor does, and each wrong input."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest

import unblur
from tests.atlas import analytic

pytest.importorskip("fastapi", reason="needs the extra web")
playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")

BROWSER = os.environ.get("UNBLUR_BROWSER") or next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="needs Chromium (or set UNBLUR_BROWSER)"),
]
DEMO = Path(__file__).parents[2] / "examples" / "demo_blurred.mp4"
PATIENCE = float(os.environ.get("UNBLUR_PATIENCE", "240")) * 1000
"""Milliseconds: other work may keep the machine busy."""


class Server:
    """`unblur serve` in a process of its own, which can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self.home, self.films = folder / "home", folder / "films"
        self.port = 0
        self.process = self.start(0)

    def start(self, port: int) -> subprocess.Popen[str]:
        words = ["serve", "--port", str(port), "--home", str(self.home)]
        words += ["--folder", str(self.films), "--max-upload", "3MB"]
        process = subprocess.Popen(
            [sys.executable, "-m", "unblur", *words], stderr=subprocess.PIPE, text=True
        )
        assert process.stderr is not None
        found = re.search(r"http://127.0.0.1:(\d+)/", process.stderr.readline())
        assert found is not None
        self.port = int(found[1])
        return process

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def restart(self, *, power_cut: bool) -> None:
        """Kills the server, which is then started again.

        Args:
            power_cut: those that work for it are killed at the same moment; else they end by
                themselves.
        """
        workers = children(self.process.pid)
        assert workers
        if power_cut:
            self.process.send_signal(signal.SIGSTOP)  # or it would note that its worker died
            for worker in workers:
                os.kill(worker, signal.SIGKILL)
        self.process.kill()
        self.process.wait()
        for _ in range(600):
            if not any(map(alive, workers)):
                break
            time.sleep(0.1)
        assert not any(map(alive, workers))
        self.process = self.start(self.port)

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)


def stat_of(process: int | str) -> list[str]:
    """State and parent of a process, as Linux tells them; empty where it is gone."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def alive(process: int) -> bool:
    return stat_of(process)[:1] not in ([], ["Z"])


def children(process: int) -> list[int]:
    known = [int(p.name) for p in Path("/proc").iterdir() if p.name.isdecimal()]
    return [p for p in known if stat_of(p)[1:2] == [str(process)]]


def small(path: Path, frames: int = 12, size: tuple[int, int] = (160, 96)) -> Path:
    """A small piece of the demo."""
    with av.open(str(DEMO)) as demo, av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=24)
        (stream.width, stream.height), stream.pix_fmt = size, "yuv420p"
        for n, frame in enumerate(demo.decode(video=0)):
            if n == frames:
                break
            made = frame.reformat(*size, "yuv420p")
            made.pts, made.time_base = n, Fraction(1, 24)
            file.mux(stream.encode(made))
        file.mux(stream.encode(None))
    return path


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("serve")
    (folder / "films").mkdir()
    small(folder / "films" / "small.mp4")
    analytic.project(frames=5).save(folder / "films" / "layers")
    running = Server(folder)
    yield running
    running.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as p:
        started = p.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def page(browser: Any, server: Server) -> Iterator[Any]:
    """The page, whose scripts may not fail."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, locale="en-GB")
    opened = context.new_page()
    opened.set_default_timeout(PATIENCE)
    wrong: list[str] = []
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    go(opened, server)
    yield opened
    context.close()
    assert wrong == []


def go(page: Any, server: Server, place: str = "") -> None:
    page.goto(f"{server.url}#{place}")
    page.reload()
    page.wait_for_selector("body[data-ready]")


def choose_small(page: Any) -> None:
    """The clip in the operator's folder."""
    page.click(".folders button")
    page.click("text=small.mp4")
    page.wait_for_selector(".timeline")


def choose_model(page: Any, name: str) -> None:
    page.evaluate("document.querySelector('form details').open = true")
    page.wait_for_selector(f"form option[value={name}]", state="attached")
    page.select_option("form details select >> nth=0", name)


def videos(page: Any) -> Any:
    return page.evaluate(
        "[...document.querySelectorAll('.ab video')].map((v) => ({t: v.currentTime,"
        " w: v.videoWidth, wrong: v.error && v.error.message}))"
    )


def test_upload_look_preview_slide(page: Any, tmp_path: Path) -> None:
    page.set_input_files("input[type=file]", small(tmp_path / "näme 🎬 %d.mp4"))
    page.wait_for_selector("h2:has-text('näme 🎬 %d.mp4') >> nth=-1")
    page.wait_for_selector(".legend:not([hidden])")
    # the timeline is scrubbed by keyboard, and a part chosen
    slider = page.locator(".timeline input[type=range]")
    slider.focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    page.wait_for_selector("figcaption:has-text('Frame 3')")
    page.keyboard.press("[")
    assert page.locator(".timeline input[type=number] >> nth=0").input_value() == "3"
    # and by dragging on it
    box = page.locator(".timeline canvas").bounding_box()
    page.mouse.click(box["x"] + box["width"] * 0.71, box["y"] + 20)
    page.wait_for_selector("figcaption:has-text('Frame 8')")
    slider.fill("0")
    choose_model(page, "none")
    page.click(".preview")
    page.wait_for_selector(".ab video")
    page.wait_for_selector(".ab-stage[style*=width]")
    assert [v["w"] for v in videos(page)] == [160, 160]
    # the handle: by keyboard, by mouse, by the key that flips
    handle = page.locator(".ab-line")
    handle.focus()
    page.keyboard.press("ArrowRight")
    assert handle.get_attribute("aria-valuenow") == "51"
    page.keyboard.press("Home")
    assert handle.get_attribute("aria-valuenow") == "0"
    page.keyboard.press("x")
    assert handle.get_attribute("aria-valuenow") == "100"
    stage = page.locator(".ab-stage")
    stage.scroll_into_view_if_needed()
    box = stage.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.9, box["y"] + 30)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.25, box["y"] + 30)
    page.mouse.up()
    assert handle.get_attribute("aria-valuenow") == "25"
    # a frame on: both are at the same place
    page.keyboard.press(".")
    page.wait_for_selector(".ab .small:has-text('Frame 1')")
    first, second = videos(page)
    assert first["t"] == second["t"] == pytest.approx(1.5 / 24, abs=1e-3)
    # at full resolution a pixel of the clip is one of the screen
    page.select_option(".ab select", "1")
    assert page.locator(".ab-stage").bounding_box()["width"] == 160
    page.select_option(".ab select", "8")
    assert page.locator(".ab-stage").bounding_box()["width"] == 1280


def test_played_together(page: Any, server: Server) -> None:
    choose_small(page)
    choose_model(page, "none")
    page.click(".preview")
    page.wait_for_selector(".ab video")
    page.click(".ab .play")
    page.wait_for_selector(".ab .play:has-text('▶')")  # the end
    first, second = videos(page)
    assert not first["wrong"]
    assert abs(first["t"] - second["t"]) < 3 / 24


def test_restore_report_download(page: Any, server: Server, tmp_path: Path) -> None:
    choose_small(page)
    choose_model(page, "motion-s")
    page.wait_for_selector(".cost:has-text('motion-s')")  # what it will cost is said before
    page.locator(".timeline input[type=number] >> nth=1").fill("4")
    page.keyboard.press("Tab")
    page.click(".start")
    page.wait_for_selector("[data-state=running] progress")
    page.wait_for_selector("h2:has-text('Restored')")
    for role, check in {
        "Download": is_video,
        "Report": is_json,
        "Page with a slider": is_page,
    }.items():
        with page.expect_download() as download:
            page.click(f"a.button:has-text('{role}') >> nth=0")
        path = tmp_path / download.value.suggested_filename
        download.value.save_as(path)
        check(path)


def is_video(path: Path) -> None:
    info = unblur.probe(path)
    assert (info.width, info.height, info.frames) == (160, 96, 4)


def is_json(path: Path) -> None:
    assert '"model": "motion-s"' in path.read_text()


def is_page(path: Path) -> None:
    assert "<!doctype html>" in path.read_text()


def test_cancel_and_again(page: Any, server: Server) -> None:
    choose_small(page)
    choose_model(page, "motion-m")
    page.click(".start")
    page.wait_for_selector("[data-state=running]:has-text('motion-m')")
    page.click("[data-state=running] .cancel")
    page.wait_for_selector("[data-state=cancelled]")
    assert page.locator("[data-state=cancelled] button").all_inner_texts() == ["Again", "Delete"]
    page.click("[data-state=cancelled] button:has-text('Delete')")
    page.wait_for_selector("[data-state=cancelled]", state="detached")


@pytest.mark.parametrize("power_cut", [False, True], ids=["server killed", "power cut"])
def test_a_job_goes_on_after_a_reload_and_after_the_server_was_killed(
    page: Any, server: Server, power_cut: bool
) -> None:
    name = f"long{power_cut}.mp4"
    small(server.films / name, frames=36)
    page.click(".folders button")
    page.click(f"text={name}")
    page.wait_for_selector(".timeline")
    choose_model(page, "motion-s")
    page.click(".start")
    page.wait_for_selector("[data-state=running]")
    page.reload()
    running = page.wait_for_selector("[data-state=running]:has-text('restoring')")
    number = running.get_attribute("data-job")
    out = server.home / "jobs" / number / "out"
    for _ in range(int(PATIENCE) // 100):  # some of it is done
        if [file for file in out.glob(".*.unblur/*.frames") if file.stat().st_size]:
            break
        time.sleep(0.1)
    server.restart(power_cut=power_cut)
    page.wait_for_selector("h2:has-text('Restored')")  # the page was open all the time
    page.wait_for_selector(".ab-stage[style*=width]")
    assert [v["w"] for v in videos(page)] == [160, 160]
    job = page.evaluate("(n) => fetch(`/api/jobs/${n}`).then((r) => r.json())", number)
    assert (job["state"], job["tries"], job["facts"]["frames"]) == ("done", 2, 36)
    assert not [*out.glob(".*.unblur")]


def test_paint_on_an_atlas_and_see_it_in_five_frames(page: Any, server: Server) -> None:
    go(page, server, "atlas")
    page.click(".folders button >> nth=0")
    page.click(".list button:has-text('layers')")
    page.click("[data-tab=paint]")
    page.wait_for_selector(".strip figure[data-shown='1'] >> nth=4")
    pixels = (
        "[...document.querySelectorAll('.strip img')].map((i) => { const c ="
        " document.createElement('canvas'); c.width = i.naturalWidth; c.height = i.naturalHeight;"
        " const g = c.getContext('2d'); g.drawImage(i, 0, 0);"
        " return [...g.getImageData(0, 0, c.width, c.height).data]"
        ".filter((v, k) => k % 4 === 0 && v > 180).length })"
    )
    canvas = page.locator("canvas.over")
    page.locator("input[type=color]").fill("#ff0000")
    before = page.evaluate(pixels)
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.4, box["y"] + box["height"] * 0.5)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + box["height"] * 0.5, steps=5)
    page.mouse.up()
    page.wait_for_selector(".strip figure[data-shown='2'] >> nth=4")
    after = page.evaluate(pixels)
    assert len(after) == 5
    assert all(b > a for a, b in zip(before, after, strict=True))
    # without a mouse: arrows and space; and back
    canvas.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press(" ")
    page.wait_for_selector(".strip figure[data-shown='3'] >> nth=4")
    page.click("text=Undo")
    page.wait_for_selector(".strip figure[data-shown='4'] >> nth=4")
    assert page.evaluate(pixels) == after
    page.click(".export")
    page.wait_for_selector("[data-state=done]")
    page.click("[data-state=done] button:has-text('Open')")
    page.wait_for_selector(".ab video")


def test_refocus_by_clicks_at_times(page: Any, server: Server) -> None:
    go(page, server, "atlas")
    page.click(".folders button >> nth=0")
    page.click(".list button:has-text('layers')")
    page.click("[data-tab=focus]")
    page.wait_for_selector(".live[data-shown='1']")
    project = unblur.atlas.open(server.films / "layers")
    alpha = project.layers[0].alpha[4][0]
    y, x = divmod(int(alpha.argmin()), alpha.shape[1])
    frame = page.locator("[data-page] input[type=range] >> nth=0")
    frame.fill("4")
    page.wait_for_selector(".live[data-shown='2']")
    click_pixel(page, x, y, project.size)
    page.wait_for_selector(".keys .key >> nth=1")
    assert page.locator(".keys .key").all_inner_texts() == ["◆ foreground", "◆ background"]
    page.wait_for_selector(".live[data-shown='3']")
    page.locator("label:has-text('Aperture') + input").fill("2")
    page.wait_for_selector(".live[data-shown='4']")
    # keys move and go by keyboard
    page.locator(".keys .key >> nth=1").focus()
    page.keyboard.press("ArrowLeft")
    page.wait_for_selector(".keys .key[aria-label*='frame 3']")
    page.keyboard.press("Delete")
    page.wait_for_selector(".keys .key >> nth=1", state="detached")
    page.select_option("label:has-text('Bokeh') + select", "hexagon")
    page.click(".export")
    page.wait_for_selector("[data-state=done]:has-text('Export')")


def click_pixel(page: Any, x: int, y: int, size: tuple[int, int]) -> None:
    """Clicks the middle of a pixel of an image that is fitted into its element."""
    image = page.locator(".live img")
    box = image.bounding_box()
    by = min(box["width"] / size[1], box["height"] / size[0])
    left = (box["width"] - by * size[1]) / 2
    image.click(position={"x": left + (x + 0.5) * by, "y": (y + 0.5) * by})


def test_flow_as_colours(page: Any, server: Server) -> None:
    go(page, server, "atlas")
    page.click(".folders button >> nth=0")
    page.click(".list button:has-text('layers')")
    page.click("[data-tab=flow]")
    page.wait_for_selector(".soft:has-text('Longest motion')")
    page.click(".export")
    page.wait_for_selector("[data-state=done]:has-text('Flow')")
    page.click("[data-state=done]:has-text('Flow') button:has-text('Open')")
    page.wait_for_selector("a:has-text('flow.flo')")


def test_a_trial_shows_psnr_beside_the_images(page: Any, server: Server) -> None:
    go(page, server, "trial")
    choose_small(page)
    choose_model(page, "none")
    page.locator(".timeline input[type=number] >> nth=1").fill("4")
    page.keyboard.press("Tab")
    page.click(".start")
    page.wait_for_selector("text=/Mean PSNR: blurred [0-9.]+ dB/")
    assert re.search(r"Blurred: \d+\.\d\d dB", page.inner_text(".scores"))
    page.select_option(".ab select[aria-label=Right]", "sharp")
    page.wait_for_selector(".ab-tag.b:has-text('Truth')")
    before = page.inner_text(".scores")
    page.click(".ab button[aria-label='One frame on']")
    page.wait_for_selector(".ab .small:has-text('Frame 1')")
    assert page.inner_text(".scores") != before


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("text.mp4", b"this is no video", "text.mp4 is not a video"),
        ("empty.mp4", b"", "empty"),
        ("page.html", b"<script>", "no video by its name"),
        ("large.mp4", b"\0" * 3_000_001, "at most"),
        ("cut.mp4", None, "cut.mp4"),
    ],
)
def test_wrong_inputs_are_answered_in_words(
    page: Any, tmp_path: Path, name: str, content: bytes | None, says: str
) -> None:
    path = tmp_path / name
    path.write_bytes(DEMO.read_bytes()[:200_000] if content is None else content)
    page.set_input_files("input[type=file]", path)
    page.wait_for_selector(f"[role=alert]:has-text('{says}')")
    assert not page.locator(".timeline").count()


def test_a_job_that_fails_says_why(page: Any, server: Server) -> None:
    still = small(server.films / "one.mp4", frames=1)
    go(page, server, "atlas")
    page.click("details:has-text('A clip') .folders button")
    page.click(f"text={still.name}")
    page.click(".start")
    page.wait_for_selector("[data-state=failed] [role=alert]")
    assert "one.mp4" in page.inner_text("[data-state=failed]")
    assert str(server.home) not in page.inner_text("[data-state=failed]")


PLACES = ["restore", "atlas", "trial", "jobs"]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("width", [360, 1280, 3840])
def test_nothing_leaves_the_screen(browser: Any, server: Server, width: int, place: str) -> None:
    context = browser.new_context(viewport={"width": width, "height": 700}, locale="de-DE")
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    go(page, server, place)
    known = page.evaluate("fetch('/api/sources').then((r) => r.json())")
    kind = "project" if place == "atlas" else "clip"
    chosen = next((s["id"] for s in known if s["kind"] == kind), None)
    if chosen and place != "jobs":
        go(page, server, f"{place}/{chosen}")
        page.wait_for_selector(".shot")
    wide = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert wide[0] <= wide[1]
    size = page.evaluate("parseFloat(getComputedStyle(document.documentElement).fontSize)")
    assert size >= {360: 14, 1280: 15, 3840: 24}[width]
    context.close()


@pytest.mark.parametrize("place", PLACES)
def test_every_control_has_a_name(page: Any, server: Server, place: str) -> None:
    known = page.evaluate("fetch('/api/sources').then((r) => r.json())")
    kind = "project" if place == "atlas" else "clip"
    chosen = next((s["id"] for s in known if s["kind"] == kind), "")
    go(page, server, f"{place}/{chosen}")
    page.wait_for_timeout(500)
    nameless = page.evaluate(
        "[...document.querySelectorAll('button, input, select, a, [role=slider], canvas.over')]"
        ".filter((n) => !(n.getAttribute('aria-label') || n.textContent.trim() ||"
        " [...(n.labels ?? [])].some((l) => l.textContent.trim()))).map((n) => n.outerHTML)"
    )
    assert nameless == []


def test_light_dark_and_german(page: Any, server: Server) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    page.emulate_media(color_scheme="light")
    light = page.evaluate(ground)
    page.emulate_media(color_scheme="dark")
    dark = page.evaluate(ground)
    assert light != dark
    page.click("#theme")  # light, whatever the system says
    assert page.evaluate(ground) == light
    page.select_option("#language", "de")
    page.wait_for_selector("nav a:has-text('Aufträge')")
    assert page.evaluate("document.documentElement.lang") == "de"
    assert page.evaluate(ground) == light  # it was kept


def test_a_keyboard_is_enough_to_restore(page: Any, server: Server) -> None:
    def press_until(selector: str, key: str = "Tab") -> None:
        for _ in range(80):
            if page.evaluate("(s) => document.activeElement?.matches(s)", selector):
                return
            page.keyboard.press(key)
        raise AssertionError(f"{selector} is not reached")

    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    press_until(".folders button")
    page.keyboard.press("Enter")
    page.wait_for_selector("text=small.mp4")
    press_until(".folders .list button")
    while "small.mp4" not in page.evaluate("document.activeElement.textContent"):
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_selector(".timeline")
    press_until("form summary")
    page.keyboard.press("Enter")
    press_until("form details select")
    page.wait_for_selector("form option[value=none]", state="attached")
    page.keyboard.type("none")
    press_until(".start")
    page.keyboard.press("Enter")
    page.wait_for_selector("h2:has-text('Restored')")
