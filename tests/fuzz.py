"""Damages files of all kinds that unblur reads, and looks for crashes, hangs and bugs: `make fuzz`.

    python tests/fuzz.py [--minutes 10] [--only media,images,...] [--keep FOLDER]

The files it begins with come from unblur's own writers. Each damaged one is read in a process of
its own, with limits on time and memory. Whatever is not answered by an error that unblur raises on
purpose is shrunk by hypothesis and kept; it is to become a test.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import torch
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from safetensors.torch import save

sys.path.insert(0, str(Path(__file__).parents[1]))

import unblur
from tests.atlas import analytic
from tests.video.media import make_clip, pass_through
from unblur.atlas.project.paint import read_edit
from unblur.disk import COMMIT, recover
from unblur.errors import UnblurError
from unblur.models.convert import read_state_dict
from unblur.training import checkpoint, recipe
from unblur.video import open_video
from unblur.video.images import read_image
from unblur.weights import difference, load, model_names
from unblur.weights.switches import read_switches

try:
    from tests.fuzz_server import PATIENCE, ask_server, conversations, count_of, prepared, sweep
except ImportError:  # the extra is missing: all but the server is attacked
    prepared = None  # type: ignore[assignment]

SECONDS = 30
"""After which a single file hangs."""
MEMORY = 3 << 30
"""Bytes that reading a file of a few KB may add."""
ROUND = 25
"""Examples that hypothesis draws before time is looked at."""
FRAMES = 200

Read = Callable[[Path], object]


@dataclass
class Target:
    """A kind of file, and what reads it."""

    read: Read
    corpus: list[tuple[str, bytes]]
    """Names and contents to begin with."""
    draw: st.SearchStrategy[bytes] | None = None
    """What makes damaged ones; None: `damages` of those above."""
    inside: Callable[[bytes], int] = lambda data: 1
    """How many inputs one of them is."""
    first: list[bytes] = field(default_factory=list)
    """Inputs to try before any that are drawn."""
    seconds: int = SECONDS
    tried: int = 0
    refused: int = 0
    slowest: float = 0.0
    peak: int = 0
    found: list[str] = field(default_factory=list)


def main() -> int:
    """Runs the targets in turn until time is over; 1 where something was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--only", default="")
    parser.add_argument("--keep", type=Path, default=Path("fuzz-found"))
    parser.add_argument("--seed", type=int, default=int(time.time()))
    wanted = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    print(f"seed {wanted.seed}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        targets = {
            name: make(Path(folder))
            for name, make in KINDS.items()
            if not wanted.only or name in wanted.only.split(",")
        }
        for name, target in targets.items():
            for file, content in target.corpus:
                wrong = outcome(target, Path(folder) / file, content)
                if name != "commits" and (wrong or target.refused):
                    print(f"{name}: {file} is not read as it is: {wrong}")
                    return 2
        for name, target in targets.items():
            for data in target.first:
                try_one(name, target, Path(folder), wanted.keep, data)
        end, number = time.monotonic() + 60 * wanted.minutes, wanted.seed
        while time.monotonic() < end:
            for name, target in targets.items():
                attack(name, target, number, Path(folder), wanted.keep, end)
                number += 1
    print(f"{'kind':10} {'tried':>6} {'refused':>8} {'slowest':>8} {'peak':>8} found")
    for name, t in targets.items():
        print(
            f"{name:10} {t.tried:6} {t.refused:8} {t.slowest:6.1f} s {t.peak >> 20:5} MB"
            f" {len(t.found)}"
        )
        print("".join(f"  {what}\n" for what in t.found), end="")
    return int(any(target.found for target in targets.values()))


damages = st.lists(
    st.tuples(
        st.sampled_from(("flip", "zeros", "noise", "cut", "repeat", "number", "insert")),
        st.floats(0, 1),
        st.integers(1, 4000),
        st.integers(0, 2**32 - 1),
    ),
    min_size=1,
    max_size=6,
)
NUMBERS = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 2**63 - 1, 2**64 - 1)


def damaged(data: bytes, how: list[tuple[str, float, int, int]]) -> bytes:
    """The file with damages, one after the other."""
    out = bytearray(data)
    for kind, place, size, number in how:
        at = int(place * len(out))
        if kind == "flip" and out:
            out[min(at, len(out) - 1)] ^= 1 + number % 255
        elif kind == "zeros":
            out[at : at + size] = bytes(len(out[at : at + size]))
        elif kind == "noise":
            part = len(out[at : at + size])
            out[at : at + size] = (number.to_bytes(4, "big") * (part // 4 + 1))[:part]
        elif kind == "cut":
            del out[at : at + size if number % 2 else len(out)]
        elif kind == "repeat":
            out[at:at] = out[at : at + size]
        elif kind == "insert":
            out[at:at] = number.to_bytes(4, "little") * (size % 16)
        else:
            value, width = NUMBERS[number % len(NUMBERS)], (1, 2, 4, 8)[size % 4]
            order = "big" if size % 8 < 4 else "little"
            out[at : at + width] = (value % 256**width).to_bytes(width, order)  # type: ignore[arg-type]
    return bytes(out)


def try_one(name: str, target: Target, folder: Path, keep: Path, data: bytes) -> None:
    """An input that is not drawn, and not shrunk."""
    file = target.corpus[0][0]
    if wrong := outcome(target, folder / file, data):
        keep.mkdir(exist_ok=True)
        path = keep / f"{name}-first-{len(target.found)}-{file}"
        path.write_bytes(data)
        target.found.append(f"{path}: {wrong}")
        print(f"FOUND {path}: {wrong}", flush=True)


def inputs(target: Target) -> st.SearchStrategy[tuple[str, bytes]]:
    """Names and contents of what a target is given."""
    if target.draw is not None:
        return target.draw.map(lambda data: (target.corpus[0][0], data))
    return st.builds(
        lambda one, how: (one[0], damaged(one[1], how)), st.sampled_from(target.corpus), damages
    )


def attack(name: str, target: Target, number: int, folder: Path, keep: Path, end: float) -> None:
    """A round of damaged files of one kind; what fails is shrunk and kept."""
    least: list[tuple[str, bytes, str]] = []

    @seed(number)
    @settings(
        max_examples=ROUND,
        deadline=None,
        database=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    @given(inputs(target))
    def test(made: tuple[str, bytes]) -> None:
        if time.monotonic() > end + 60:
            assert not least, least[0][2]  # as it is, if time ends while it is shrunk
            return
        file, bad = made
        wrong = outcome(target, folder / file, bad)
        if wrong:
            least[:] = [(file, bad, wrong)]
            raise AssertionError(wrong)

    try:
        test()
    except AssertionError:
        file, bad, wrong = least[0]
        keep.mkdir(exist_ok=True)
        path = keep / f"{name}-{number}-{file}"
        path.write_bytes(bad)
        target.found.append(f"{path}: {wrong}")
        print(f"FOUND {path}: {wrong}", flush=True)


def outcome(target: Target, path: Path, data: bytes) -> str:
    """Reads a file in a process of its own; what went wrong, or nothing."""
    path.write_bytes(data)
    began = time.monotonic()
    log = path.with_name("log")
    child = os.fork()
    if child == 0:
        code = 9
        try:
            signal.alarm(target.seconds)
            room = int(Path("/proc/self/statm").read_text().split()[0]) * 4096 + MEMORY
            resource.setrlimit(resource.RLIMIT_AS, (room, room))
            quiet = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(quiet, 2)
            target.read(path)
            code = 0
        except UnblurError as error:
            code = 1 if error.exit_code != 5 else 9
        except MemoryError:
            code = 8
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(code)
    _, status, used = os.wait4(child, 0)
    target.tried += target.inside(data)
    target.slowest = max(target.slowest, time.monotonic() - began)
    target.peak = max(target.peak, used.ru_maxrss << 10)
    code = os.waitstatus_to_exitcode(status)
    target.refused += code == 1
    if code in (0, 1):
        return ""
    said = log.read_text(errors="replace").strip().splitlines() or [""]
    if code == -signal.SIGALRM:
        return f"hangs for more than {target.seconds} s"
    if code < 0:
        return f"ends the process with signal {-code}"
    return "takes too much memory" if code == 8 else said[-1][:200]


def server_target(folder: Path) -> Target:
    """A server that has clips, projects and jobs, and many requests to it one after the other."""
    known, begin = prepared(folder)
    begun = [("a.http", begin)]
    first = list(sweep(known))
    return Target(ask_server, begun, conversations(known), count_of, first, PATIENCE)


def read_media(path: Path) -> None:
    """Decodes some frames, as they are and after a seek."""
    for start in (None, "f3"):
        with open_video(path, start=start, max_pixels=1 << 22) as reader:
            for count, frame in enumerate(reader):
                if count == 0:
                    frame.rgb()
                if count >= FRAMES:
                    break


def media_files(folder: Path) -> Iterator[tuple[str, bytes]]:
    """A clip of each container and codec."""
    for name, codec in (
        ("a.mp4", "libx264"),
        ("b.mkv", "libx265"),
        ("c.webm", "libvpx-vp9"),
        ("d.mov", "prores_ks"),
        ("e.mkv", "ffv1"),
        ("f.avi", "mpeg4"),
        ("g.ts", "mpeg2video"),
        ("h.nut", "libx264"),
        ("i.flv", "libx264"),
        ("j.ogv", "libvpx"),
        ("k.hevc", "libx265"),
        ("l.apng", "apng"),
    ):
        kind = {"prores_ks": "yuv422p10le", "apng": "rgb24"}.get(codec, "yuv420p")
        audio = "aac" if name == "a.mp4" else None
        options = {"cpu-used": "8"} if codec == "libvpx-vp9" else {}
        base = Fraction(1, 25) if codec.startswith("mpeg") else Fraction(1, 1000)
        path = make_clip(
            folder / name,
            codec=codec,
            pixel_format=kind,
            audio=audio,
            options=options,
            time_base=base,
        )
        yield name, path.read_bytes()


def image_files(folder: Path) -> Iterator[tuple[str, bytes]]:
    """An image of each kind."""
    clip = make_clip(folder / "one.mkv", codec="ffv1", pts=1)
    for name in ("a.png", "b.tif", "c.exr"):
        pass_through(clip, folder / name)
        yield name, (folder / name).read_bytes()


def read_weights(path: Path) -> None:
    """All that looks at a weights file."""
    load(path)
    model_names(path)
    read_switches(path)
    difference.load_whole(path, lambda state: state)


def weights_files() -> Iterator[tuple[str, bytes]]:
    """Whole weights, and a difference."""
    facts = {"name": "motion-s", "switches": '{"channels": 8}'}
    state = {"a.weight": torch.ones(4, 3), "a.bias": torch.ones(4).half()}
    yield "a.safetensors", save(state, facts)
    yield "b.safetensors", save({}, {**facts, "base": "coc-s"})


def torch_file() -> bytes:
    """A checkpoint of PyTorch."""
    file = io.BytesIO()
    torch.save({"state_dict": {"a.weight": torch.ones(4, 3), "b": torch.zeros(2)}}, file)
    return file.getvalue()


def recipe_files() -> Iterator[tuple[str, bytes]]:
    """Those that ship, and one as JSON."""
    for path in sorted(recipe.SHIPPED.glob("*.yaml")):
        yield path.name, path.read_bytes()
    yield "a.json", json.dumps(recipe.to_json(recipe.Recipe("motion-s"))).encode()


def read_state(path: Path) -> None:
    """The state of a training."""
    checkpoint.load(path.parent)


def state_file(folder: Path) -> bytes:
    """The index of a state; its shards stay as they are."""
    checkpoint.save(folder / "state", {"x": torch.zeros(3)}, {"step": 1})
    (folder / "state-001.safetensors").write_bytes(
        (folder / "state" / "state-001.safetensors").read_bytes()
    )
    return (folder / "state" / checkpoint.INDEX).read_bytes()


def read_project(path: Path) -> None:
    """Opens the project whose head is damaged, and reads a frame."""
    folder = path.parent / "project"
    os.replace(path, folder / "atlas.json")
    project = unblur.atlas.open(folder)
    project.frames[0]
    project.layers[0].uv[0]


def project_file(folder: Path) -> bytes:
    """A project; its head is what is damaged."""
    (folder / "project").mkdir()
    analytic.project(frames=2).save(folder / "project")
    return (folder / "project" / "atlas.json").read_bytes()


def read_painted(path: Path) -> None:
    """Paint for an atlas of 24x32."""
    layer = analytic.project(frames=1).layers[0]
    read_edit(path, layer)


def painted_files() -> Iterator[tuple[str, bytes]]:
    """An image and a layered document."""
    from unblur.atlas.project.maps import png

    layer = analytic.project(frames=1).layers[0]
    height, width = layer.texture.shape[-2:]
    image = png(layer.texture.mul(255).byte().permute(1, 2, 0).contiguous().numpy())
    yield "a.png", image
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        text = f"<image w='{width}' h='{height}'><stack><layer src='a.png'/></stack></image>"
        archive.writestr("stack.xml", text)
        archive.writestr("a.png", image)
    yield "b.ora", file.getvalue()


def read_commit(path: Path) -> None:
    """What a run left that was killed."""
    folder = path.parent / "commit"
    (folder / COMMIT / "new").mkdir(parents=True, exist_ok=True)
    os.replace(path, folder / COMMIT / "plan.json")
    recover(folder)


KINDS: dict[str, Callable[[Path], Target]] = {
    "media": lambda folder: Target(read_media, list(media_files(folder))),
    "images": lambda folder: Target(
        lambda path: read_image(path, 1 << 22), list(image_files(folder))
    ),
    "weights": lambda _: Target(read_weights, list(weights_files())),
    "pth": lambda _: Target(read_state_dict, [("a.pth", torch_file())]),
    "recipes": lambda _: Target(recipe.load, list(recipe_files())),
    "states": lambda folder: Target(read_state, [("state.json", state_file(folder))]),
    "projects": lambda folder: Target(read_project, [("atlas.json", project_file(folder))]),
    "painted": lambda _: Target(read_painted, list(painted_files())),
    "commits": lambda _: Target(read_commit, [("plan.json", b'{"remove": ["a", "../b", ""]}')]),
    **({"server": server_target} if prepared else {}),
}
"""What makes each kind, with files to begin with."""

if __name__ == "__main__":
    sys.exit(main())
