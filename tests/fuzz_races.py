"""Runs pairs of commands at the same time, with delays and kills by chance: `make races`.

    python tests/fuzz_races.py [--minutes 10] [--only restore,batch,...] [--seed N]

What lies there afterwards must be what there would be had they run one after the other, or one of
them alone; who loses says so by an exit code of 2 to 4. Of pairs in which one was killed, the same
commands are run again, and then the same holds.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import os
import pkgutil
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

import unblur
from tests.atlas.fitting.test_take import QUICK
from tests.video.media import make_clip
from unblur import weights
from unblur.atlas.fitting import presets
from unblur.atlas.fitting.presets import Phase
from unblur.atlas.project.maps import png
from unblur.cli import main as program
from unblur.training import checkpoint

SECONDS = 120
"""After which a command hangs."""
SAID = re.compile(r"Traceback|bug in unblur")
RECIPE = """network: motion-s
steps: 4
batch: 1
frames: 3
crop: 32
validate_every: 2
validation_clips: 1
"""
Look = Callable[[Path], dict[str, str]]


@dataclass
class Pair:
    """Two commands, and what they are run in."""

    first: list[str]
    second: list[str]
    prepare: Callable[[Path], None]
    look: Look = field(default=lambda folder: tree(folder))
    """What of the folder must be as if they had run one after the other."""
    again: str = ""
    """Option with which a command that was killed goes on."""
    allowed: list[dict[str, str]] = field(default_factory=list)
    seconds: float = 0.1
    runs: int = 0
    kills: int = 0
    codes: dict[tuple[int, int], int] = field(default_factory=dict)
    found: list[str] = field(default_factory=list)


def main() -> int:
    """Runs all pairs in turn until time is over; 1 where something was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--only", default="")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    wanted = parser.parse_args()
    torch.set_num_threads(1)
    presets.PRESETS["cpu"] = replace(QUICK, phases=(Phase(3, 1, 1),))
    for module in pkgutil.walk_packages(unblur.__path__, "unblur."):
        if not module.name.endswith(("__main__", "comfyui", "vapoursynth", "triton")):
            importlib.import_module(module.name)  # not in each process anew
    rng = random.Random(wanted.seed)
    print(f"seed {wanted.seed}", flush=True)
    with tempfile.TemporaryDirectory() as name:
        home = Path(name).resolve()
        material(home / "made")
        pairs = {n: p for n, p in PAIRS.items() if not wanted.only or n in wanted.only.split(",")}
        for pair_name, pair in pairs.items():
            learn(pair, home)
            print(f"{pair_name}: {pair.seconds:.1f} s, {len(pair.allowed)} ends", flush=True)
        end = time.monotonic() + 60 * wanted.minutes
        while time.monotonic() < end:
            for pair_name, pair in pairs.items():
                if time.monotonic() < end:
                    for wrong in race(pair, home, rng):
                        pair.found.append(wrong)
                        print(f"FOUND {pair_name}: {wrong}", flush=True)
    print(f"{'pair':22} {'runs':>5} {'kills':>5} found, exit codes")
    for pair_name, pair in pairs.items():
        codes = ", ".join(f"{a}+{b}: {n}" for (a, b), n in sorted(pair.codes.items()))
        print(f"{pair_name:22} {pair.runs:5} {pair.kills:5} {len(pair.found)}  {codes}")
    return int(any(pair.found for pair in pairs.values()))


def material(made: Path) -> None:
    """What commands read: two clips, images, weights, textures, a recipe."""
    made.mkdir()
    for name, count, noise in (("a", 9, 19999), ("b", 6, 9)):
        make_clip(made / f"{name}.mkv", size=(32, 32), pts=count, noise=noise, codec="ffv1")
        alone(made, [f"{name}.mkv", f"{name}/", "--model", "none"])
        make_clip(made / f"{name}{name}.mkv", size=(64, 48), pts=6, noise=noise, codec="ffv1")
    state, facts = weights.load(weights.find("coc-s")), weights.metadata(weights.find("coc-s"))
    for number in range(2):
        changed = {name: x + number / 8 for name, x in state.items()}
        weights.save(made / f"{number}.safetensors", changed, facts)
    (made / "tiny.yaml").write_text(RECIPE)
    (made / "bank").mkdir()
    for number in range(2):
        grain = np.random.default_rng(number).integers(0, 255, (64, 64, 3), np.uint8)
        (made / "bank" / f"{number}.png").write_bytes(png(grain.repeat(4, 0).repeat(4, 1)))


def clips(*names: str) -> Callable[[Path], None]:
    """Copies of what was made."""

    def prepare(folder: Path) -> None:
        for name in names:
            source = folder.parent / "made" / name
            if source.is_dir():
                shutil.copytree(source, folder / name)
            else:
                shutil.copyfile(source, folder / name)

    return prepare


def learn(pair: Pair, home: Path) -> None:
    """The ends there may be: of each alone, and of both in either order."""
    for order in (
        [pair.first],
        [pair.second],
        [pair.first, pair.second],
        [pair.second, pair.first],
    ):
        folder = fresh(pair, home)
        for words in order:
            began = time.monotonic()
            code = alone(folder, words)
            pair.seconds = max(pair.seconds, time.monotonic() - began)
            first = words is order[0] and words[0] not in ("clean", "x.mkv")
            assert code == 0 or (code in (1, 2, 3, 4) and not first), (folder / ".said").read_text()
        state = pair.look(folder)
        if state not in pair.allowed:
            pair.allowed.append(state)


def race(pair: Pair, home: Path, rng: random.Random) -> Iterator[str]:
    """Runs the two at once; yields what is wrong afterwards."""
    folder = fresh(pair, home)
    delay = rng.choice((0.0, rng.uniform(0, pair.seconds), rng.gauss(pair.seconds, 0.05)))
    one = start(folder, pair.first, "1")
    time.sleep(max(0.0, delay))
    two = start(folder, pair.second, "2")
    killed = rng.random() < 0.4
    if killed:
        time.sleep(rng.uniform(0, 1.5 * pair.seconds))
        for process in rng.choice(((one,), (two,), (one, two))):
            os.kill(process, signal.SIGKILL)
    codes = finish(one), finish(two)
    pair.runs += 1
    pair.kills += killed
    pair.codes[codes] = pair.codes.get(codes, 0) + 1
    said = [(folder / f".said{n}").read_text() for n in "12"]
    for code, text in zip(codes, said, strict=True):
        if SAID.search(text) or code not in (0, 1, 2, 3, 4, -signal.SIGKILL):
            yield f"exit {code}: {text.strip()[-300:]}"
    if killed:
        said = [*said, ""]
        for words in (pair.first, pair.second):
            code = alone(folder, [*words, *pair.again.split()])
            said[2] += (folder / ".said").read_text()
            if SAID.search(said[2]) or code not in (0, 1, 2, 3, 4):
                yield f"after a kill exit {code}: {said[2].strip()[-300:]}"
    elif not {0, 1} & set(codes):  # 1: a batch of which the other did a part
        yield f"both are refused: {said}"
    state = pair.look(folder)
    if state not in pair.allowed:
        near = [sorted(n for n in {*state, *x} if state.get(n) != x.get(n)) for x in pair.allowed]
        yield f"codes {codes}, killed {killed}: another end, {min(near, key=len)[:5]}: {said}"
    if not killed and (left := hidden(folder)):
        yield f"codes {codes}: left behind {left}"


def fresh(pair: Pair, home: Path) -> Path:
    """A folder with what the two read."""
    folder = home / "run"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    pair.prepare(folder)
    return folder


def start(folder: Path, words: list[str], mark: str = "") -> int:
    """Runs a command in a process of its own, which need not import anything."""
    process = os.fork()
    if process:
        return process
    code = 99
    try:
        signal.alarm(SECONDS)
        os.chdir(folder)
        os.environ["UNBLUR_HOME"] = str(folder / "home")
        heard = os.open(f".said{mark}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(heard, 1)
        os.dup2(heard, 2)
        code = program(words)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def finish(process: int) -> int:
    """Exit code of a process, or less than 0: the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def alone(folder: Path, words: list[str]) -> int:
    """Exit code of a command that nothing disturbs."""
    return finish(start(folder, words))


def tree(folder: Path, *leave: str) -> dict[str, str]:
    """Digests of all files that are no hidden ones."""
    found = {}
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if not path.is_file() or any(part.startswith(".") for part in parts):
            continue
        if parts[0] in ("home", *leave):
            continue
        if path.suffix == ".safetensors":  # the order of what its head says is by chance
            found["/".join(parts)] = digest_of(weights.load(path))
        else:
            found["/".join(parts)] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def hidden(folder: Path) -> list[str]:
    """What runs have in the making."""
    found = [str(path.relative_to(folder)) for path in folder.rglob("*")]
    mine = re.compile(r"\.unblur|\.part|\.growing|\.new$|\.old$")
    return [name for name in found if mine.search(name)]


def whole_pages(folder: Path) -> dict[str, str]:
    """Pages tell of time: they are to be whole."""
    return {p.name: p.read_text()[-8:].strip() for p in folder.glob("*.html")}


def trained(folder: Path) -> dict[str, str]:
    """Weights and states of trainings, without the time they took."""
    # The order of what the head of a file says is by chance.
    found = {str(path): digest_of(weights.load(path)) for path in folder.rglob("best.safetensors")}
    for run in folder.glob("run*"):
        state = checkpoint.load(run / "checkpoint")
        if state is not None:
            tensors, facts = state
            found[run.name] = f"{facts['step']} {digest_of(tensors)}"
            found[f"{run.name}/lines"] = str((run / "curve.csv").read_text().count("\n"))
    return found


def digest_of(tensors: dict[str, torch.Tensor]) -> str:
    """Of all numbers."""
    numbers = b"".join(x.float().numpy().tobytes() for _, x in sorted(tensors.items()))
    return hashlib.sha256(numbers).hexdigest()


def project(folder: Path) -> dict[str, str]:
    """Projects without the state of their fit."""
    return {
        name: digest
        for name, digest in tree(folder).items()
        if "/fit/" not in name and not name.endswith("atlas.json")
    }


NONE = ["--model", "none"]
BANK = ["--textures", "bank"]
TINY = ["--model", "motion-s", "--device", "cpu", "--quiet"]
OVER = ["--overwrite"]
SQUARE = ["--width", "32", "--height", "32"]
SCENES = ["simulate", "scenes", "o", "--count", "1", "--frames", "2", *SQUARE]
PAIRS = {
    "restore": Pair(
        ["a.mkv", "o.mkv", *NONE], ["a.mkv", "o.mkv", *NONE], clips("a.mkv"), again="--resume"
    ),
    "restore two": Pair(
        ["a.mkv", "o.mkv", *NONE], ["b.mkv", "o.mkv", *NONE], clips("a.mkv", "b.mkv")
    ),
    "restore over": Pair(
        ["a.mkv", "o.mkv", *NONE, *OVER], ["b.mkv", "o.mkv", *NONE, *OVER], clips("a.mkv", "b.mkv")
    ),
    "network": Pair(
        ["a.mkv", "o.mkv", *TINY], ["a.mkv", "o.mkv", *TINY], clips("a.mkv"), again="--resume"
    ),
    "resume": Pair(
        ["a.mkv", "o.mkv", *TINY, "--resume"], ["a.mkv", "o.mkv", *TINY, "--resume"], clips("a.mkv")
    ),
    "resume none": Pair(
        ["a.mkv", "o.mkv", *NONE, "--resume"], ["a.mkv", "o.mkv", *NONE, "--resume"], clips("a.mkv")
    ),
    "images": Pair(["a.mkv", "o/", *NONE], ["b.mkv", "o/", *NONE], clips("a.mkv", "b.mkv")),
    "images over": Pair(
        ["a.mkv", "o/", *NONE, *OVER], ["b.mkv", "o/", *NONE, *OVER], clips("a.mkv", "b.mkv")
    ),
    "images resume": Pair(
        ["a.mkv", "o/", *NONE, "--resume"], ["a.mkv", "o/", *NONE, "--resume"], clips("a.mkv")
    ),
    "images kinds": Pair(
        ["a.mkv", "o/%05d.png", *NONE], ["b.mkv", "o/%05d.tif", *NONE], clips("a.mkv", "b.mkv")
    ),
    "out is in": Pair(
        ["a.mkv", "b.mkv", *NONE, *OVER], ["b.mkv", "o.mkv", *NONE], clips("a.mkv", "b.mkv")
    ),
    "out is in, images": Pair(
        ["a.mkv", "b/", *NONE, *OVER], ["b/", "o.mkv", *NONE], clips("a.mkv", "b")
    ),
    "out of in": Pair(["a.mkv", "x.mkv", *NONE], ["x.mkv", "y.mkv", *NONE], clips("a.mkv")),
    "batch": Pair(
        ["batch", "a.mkv", "b.mkv", "o", *NONE],
        ["batch", "a.mkv", "b.mkv", "o", *NONE],
        clips("a.mkv", "b.mkv"),
        again="--resume",
    ),
    "batch resume": Pair(
        ["batch", "a.mkv", "b.mkv", "o", *NONE, "--resume"],
        ["batch", "b.mkv", "a.mkv", "o", *NONE, "--resume"],
        clips("a.mkv", "b.mkv"),
    ),
    "image": Pair(["a/00001.png", "o.png", *NONE], ["a/00002.png", "o.png", *NONE], clips("a")),
    "clean": Pair(["a.mkv", "o.mkv", *TINY], ["clean", "."], clips("a.mkv"), again=""),
    "clean out": Pair(["a.mkv", "o.mkv", *NONE], ["clean", "o.mkv"], clips("a.mkv"), again=""),
    "analyze": Pair(
        ["analyze", "a.mkv", "--report", "r.html", "--no-estimate"],
        ["analyze", "b.mkv", "--report", "r.html", "--no-estimate"],
        clips("a.mkv", "b.mkv"),
        whole_pages,
    ),
    "analyze over": Pair(
        ["analyze", "a.mkv", "--report", "r.html", "--no-estimate", *OVER],
        ["analyze", "b.mkv", "--report", "r.html", "--no-estimate", *OVER],
        clips("a.mkv", "b.mkv"),
        whole_pages,
    ),
    "depth": Pair(["depth", "a.mkv", "o/"], ["depth", "b.mkv", "o/"], clips("a.mkv", "b.mkv")),
    "depth video": Pair(
        ["depth", "a.mkv", "o.mkv", *OVER],
        ["depth", "b.mkv", "o.mkv", *OVER],
        clips("a.mkv", "b.mkv"),
    ),
    "mean": Pair(
        ["weights", "mean", "0.safetensors", "1.safetensors", "o.safetensors"],
        ["weights", "mean", "0.safetensors", "1.safetensors", "o.safetensors", "--share", ".25"],
        clips("0.safetensors", "1.safetensors"),
    ),
    "mean over": Pair(
        ["weights", "mean", "0.safetensors", "1.safetensors", "o.safetensors", *OVER],
        [
            "weights",
            "mean",
            "1.safetensors",
            "0.safetensors",
            "o.safetensors",
            "--share",
            ".25",
            *OVER,
        ],
        clips("0.safetensors", "1.safetensors"),
    ),
    "scenes": Pair(SCENES, [*SCENES, "--seed", "1"], clips()),
    "motion": Pair(
        ["simulate", "motion", "a.mkv", "o.mkv"],
        ["simulate", "motion", "b.mkv", "o.mkv"],
        clips("a.mkv", "b.mkv"),
    ),
    "config": Pair(
        ["config", "--init"],
        ["config", "--init"],
        clips(),
        lambda folder: {
            "text": (folder / "home" / "config.toml").read_text()
            if (folder / "home" / "config.toml").exists()
            else ""
        },
    ),
    "fit": Pair(
        ["atlas", "fit", "aa.mkv", "p"], ["atlas", "fit", "aa.mkv", "p"], clips("aa.mkv"), project
    ),
    "fit two": Pair(
        ["atlas", "fit", "aa.mkv", "p"],
        ["atlas", "fit", "bb.mkv", "p"],
        clips("aa.mkv", "bb.mkv"),
        project,
    ),
    "fit over": Pair(
        ["atlas", "fit", "aa.mkv", "p", *OVER],
        ["atlas", "fit", "bb.mkv", "p", *OVER],
        clips("aa.mkv", "bb.mkv"),
        project,
    ),
    "train": Pair(
        ["train", "tiny.yaml", *BANK, "run"],
        ["train", "tiny.yaml", *BANK, "run"],
        clips("tiny.yaml", "bank"),
        trained,
    ),
    "train restart": Pair(
        ["train", "tiny.yaml", *BANK, "run", "--restart"],
        ["train", "tiny.yaml", *BANK, "run"],
        clips("tiny.yaml", "bank"),
        trained,
    ),
    "train pool": Pair(
        ["train", "tiny.yaml", *BANK, "run1", "--pool", "pool"],
        ["train", "tiny.yaml", *BANK, "run2", "--pool", "pool"],
        clips("tiny.yaml", "bank"),
        trained,
    ),
}

if __name__ == "__main__":
    sys.exit(main())
