"""Damages and swaps what unblur kept to go on with, and looks for wrong results: `make tampered`.

    python tests/fuzz_state.py [--minutes 10] [--only video,images,...] [--seed N]

Each time the state of a job, a training, a fit or a server is as it was left; then something is
done to one or two of its pieces. What goes on with it must refuse that in words, or give what would
have come without it; files outside stay as they are.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

import unblur
from tests.commands.test_resume import Mixing
from tests.training.test_loop import RECIPE
from tests.training.test_loop import run as training
from tests.video.media import make_clip
from unblur.atlas.fitting import take
from unblur.atlas.fitting.checkpoint import load_state
from unblur.cli.failures import explain
from unblur.commands.unfinished import folder_of
from unblur.restorers.base import Preset
from unblur.restorers.registry import PRESETS
from unblur.training import checkpoint, pool
from unblur.video import kept

SECONDS = 60
DONE, REFUSED, WRONG = 0, 1, 2
MINE = b"mine" * 1000
NUMBERS = ("0", "-1", "1", "99999", "1" + "0" * 18, "1" + "0" * 400, "1e999", "NaN", "null", '"x"')


@dataclass
class State:
    """Something that is kept, and what goes on with it."""

    leave: Callable[[Path, int], None]
    """Leaves the state of job 0 or 1 in a folder."""
    kept: Callable[[Path], Path]
    """Where it is."""
    go_on: Callable[[Path], object]
    """Goes on; gives what the result is known by."""
    right: object = None
    tried: int = 0
    refused: int = 0
    anew: int = 0
    found: list[str] = field(default_factory=list)


def main() -> int:
    """Damages states in turn until time is over; 1 where something was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--only", default="")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    wanted = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    rng = random.Random(wanted.seed)
    print(f"seed {wanted.seed}", flush=True)
    PRESETS["mixing"] = Preset(Mixing.info, lambda options: Mixing())
    kept.MOST_FRAMES = 5
    with tempfile.TemporaryDirectory() as name:
        home = Path(name).resolve()
        states = {n: s for n, s in STATES.items() if not wanted.only or n in wanted.only.split(",")}
        for state_name, state in states.items():
            for job in (0, 1):
                place = home / state_name / str(job)
                place.mkdir(parents=True)
                state.leave(place, job)
            code, said, state.right = attempt(state, copied(home, state_name))
            assert code == DONE, said
        end = time.monotonic() + 60 * wanted.minutes
        while time.monotonic() < end:
            for state_name, state in states.items():
                tamper(state_name, state, home, rng)
    print(f"{'state':12} {'tried':>6} {'refused':>8} {'right':>6} found")
    for state_name, s in states.items():
        print(f"{state_name:12} {s.tried:6} {s.refused:8} {s.anew:6} {len(s.found)}")
    return int(any(state.found for state in states.values()))


def tamper(name: str, state: State, home: Path, rng: random.Random) -> None:
    """Damages a copy of the state, and looks at what comes of it."""
    folder = copied(home, name)
    mine = home / "mine"
    mine.write_bytes(MINE)
    other = state.kept(home / name / "1")
    done = [
        rng.choice(DAMAGES)(state.kept(folder), other, mine, rng)
        for _ in range(rng.choice((1, 1, 1, 2, 3)))
    ]
    code, said, result = attempt(state, folder)
    state.tried += 1
    state.refused += code == REFUSED
    state.anew += code == DONE
    wrong = ""
    if code not in (DONE, REFUSED):
        wrong = f"ends by {code}: {said[-300:]}"
    elif code == DONE and result not in (state.right, repr(FRESH)):
        wrong = "another result"
    elif mine.read_bytes() != MINE:
        wrong = "wrote into a file outside"
    if wrong:
        state.found.append(wrong)
        print(f"FOUND {name}: {done}: {wrong}", flush=True)


def copied(home: Path, name: str) -> Path:
    """The state of job 0, anew."""
    folder = home / "run"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(home / name / "0", folder)
    return folder


def attempt(state: State, folder: Path) -> tuple[int, str, object]:
    """Goes on in a process of its own: how it ended, what it said, and the result."""
    log, result = folder.parent / "log", folder.parent / "result"
    result.unlink(missing_ok=True)
    child = os.fork()
    if child == 0:
        code = WRONG
        try:
            signal.alarm(SECONDS)
            quiet = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(quiet, 1)
            os.dup2(quiet, 2)
            os.environ["UNBLUR_HOME"] = str(folder / "home")
            result.write_text(repr(state.go_on(folder)))
            code = DONE
        except Exception as error:
            code = REFUSED if explain(error, [])[0] in (2, 3, 4) else WRONG
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    said = log.read_text(errors="replace")
    return code, said, result.read_text() if result.exists() else None


# -- damages: of pieces in a folder, with the other job's, and a file that is outside --------------


def pieces(folder: Path) -> list[Path]:
    """All files that a state is made of."""
    found = [path for path in sorted(folder.rglob("*")) if path.is_file() or path.is_symlink()]
    return [path for path in found if path.name != "lock"] or [folder / "nothing"]


def flip(folder: Path, other: Path, mine: Path, rng: random.Random) -> str:
    """Some bytes are others."""
    path = rng.choice(pieces(folder))
    data = bytearray(path.read_bytes() if path.is_file() else b"")
    for _ in range(rng.choice((1, 1, 3))):
        if data:
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    put(path, bytes(data))
    return f"flip {path.name}"


def cut(folder: Path, other: Path, mine: Path, rng: random.Random) -> str:
    """The end is missing, or there is more."""
    path = rng.choice(pieces(folder))
    data = path.read_bytes() if path.is_file() else b""
    at = rng.randrange(len(data) + 1)
    put(path, rng.choice((data[:at], data + b"\0" * 99, data + data, b"", bytes(len(data)))))
    return f"cut {path.name}"


def number(folder: Path, other: Path, mine: Path, rng: random.Random) -> str:
    """A number or word in a text is another."""
    texts = [p for p in pieces(folder) if p.suffix in (".json", ".sums", "")]
    path = rng.choice(texts or pieces(folder))
    text = path.read_bytes().decode(errors="replace") if path.is_file() else ""
    places = list(re.finditer(r"-?\d+(\.\d+)?|\"\w*\"|null|true|false", text))
    if places:
        place = rng.choice(places)
        text = text[: place.start()] + rng.choice(NUMBERS) + text[place.end() :]
        put(path, text.encode())
    return f"number {path.name}"


def drop(folder: Path, other: Path, mine: Path, rng: random.Random) -> str:
    """A piece is gone."""
    path = rng.choice(pieces(folder))
    path.unlink(missing_ok=True)
    return f"drop {path.name}"


def swap(folder: Path, other: Path, mine: Path, rng: random.Random) -> str:
    """Two pieces take each other's places."""
    one, two = rng.choice(pieces(folder)), rng.choice(pieces(folder))
    if one.is_file() and two.is_file():
        first, second = one.read_bytes(), two.read_bytes()
        put(one, second)
        put(two, first)
    return f"swap {one.name} {two.name}"


def double(folder: Path, other: Path, mine: Path, rng: random.Random) -> str:
    """A piece lies there again, under the name that would follow."""
    path = rng.choice(pieces(folder))
    names = re.findall(r"\d+", path.name)
    if names and path.is_file():
        new = path.name.replace(names[0], f"{int(names[0]) + 1:0{len(names[0])}}", 1)
        put(path.with_name(new), path.read_bytes())
    return f"double {path.name}"


def foreign(folder: Path, other: Path, mine: Path, rng: random.Random) -> str:
    """A piece is that of another job."""
    path = rng.choice(pieces(other))
    if path.is_file():
        place = folder / path.relative_to(other)
        if rng.random() < 0.3:
            place = rng.choice(pieces(folder))
        place.parent.mkdir(parents=True, exist_ok=True)
        put(place, path.read_bytes())
    return f"foreign {path.name}"


def all_foreign(folder: Path, other: Path, mine: Path, rng: random.Random) -> str:
    """All pieces but one are those of another job."""
    stays = rng.choice(pieces(folder))
    for path in pieces(other):
        place = folder / path.relative_to(other)
        if place != stays and path.is_file():
            place.parent.mkdir(parents=True, exist_ok=True)
            put(place, path.read_bytes())
    return f"all foreign but {stays.name}"


def link(folder: Path, other: Path, mine: Path, rng: random.Random) -> str:
    """A piece is a link, or another name, of a file outside, a pipe or a folder."""
    path = rng.choice(pieces(folder))
    path.unlink(missing_ok=True)
    kind = rng.choice(("symlink", "hard link", "pipe", "folder"))
    if kind == "symlink":
        path.symlink_to(mine)
    elif kind == "hard link":
        os.link(mine, path)
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()
        (path / "more").write_text("more")
    return f"{kind} {path.name}"


DAMAGES = (flip, flip, cut, number, drop, swap, double, foreign, foreign, all_foreign, link)


def put(path: Path, data: bytes) -> None:
    """Writes a piece in place of whatever is there."""
    if path.is_symlink() or path.is_fifo():
        path.unlink()
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.write_bytes(data)


# -- states ----------------------------------------------------------------------------------------


def begun(folder: Path, job: int, target: str, **options: object) -> None:
    """A job that was killed after 17 of its 23 frames."""
    noise = 19999 - 9000 * job
    make_clip(folder / "in.mkv", size=(32, 32), pts=23, codec="ffv1", noise=noise)
    os.utime(folder / "in.mkv", (10**9, 10**9))
    child = os.fork()
    if child == 0:
        from unblur.commands import restore_file

        write, written = restore_file.write, [0]

        def count(writer: object, preview: bool, item: object) -> None:
            written[0] += 1
            if written[0] > 17:
                os._exit(0)
            write(writer, preview, item)

        restore_file.write = count
        try:
            unblur.restore(folder / "in.mkv", folder / target, model="mixing", **options)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def resumed(target: str, **options: object) -> Callable[[Path], object]:
    """Goes on with a job."""

    def go_on(folder: Path) -> object:
        unblur.restore(folder / "in.mkv", folder / target, model="mixing", resume=True, **options)
        out = folder / target
        files = [out] if out.is_file() else sorted(out.iterdir())
        assert not folder_of(out).exists()
        return [(file.name, hash_of(file.read_bytes())) for file in files]

    return go_on


def hash_of(data: bytes) -> str:
    """Digest."""
    import hashlib

    return hashlib.sha256(data).hexdigest()


def trained(folder: Path, job: int) -> None:
    """A training that was stopped in its middle, of several shards."""
    checkpoint.SHARD_BYTES = 64
    run = training(folder / "run", recipe=replace(RECIPE, seed=job))
    for _ in range(20):
        run.advance()
    run.validate(0.5)


def train_on(folder: Path) -> object:
    """Goes on to the end."""
    run = training(folder / "run")
    if run.resume():
        for _ in range(4):
            run.advance()
    else:  # begun anew
        for _ in range(24):
            run.advance()
    state = {name: x.tolist() for name, x in run.average.state.items()}
    return run.step, state


def fitted(folder: Path, job: int) -> None:
    """The state of a fit."""
    from tests.atlas import focus_pull
    from tests.atlas.fitting.test_take import QUICK

    clip = focus_pull.clip()
    frames = clip.blurred if job == 0 else clip.blurred.flip(-1)
    labels = clip.labels if job == 0 else clip.labels.flip(-1)
    take.fit_frames(frames, QUICK, labels=labels, folder=folder)
    found = load_state(folder / "fit")
    assert found is not None
    OF.append(found[1]["of"])


def fit_on(folder: Path) -> object:
    """What the state says, or nothing where it is gone."""
    found = load_state(folder / "fit")
    if found is None or found[1]["of"] != OF[0]:  # so it begins anew, as `fit_frames` does
        return FRESH
    tensors, facts = found
    return (
        facts["of"],
        hash_of(repr(facts).encode()),
        [(name, hash_of(x.numpy().tobytes())) for name, x in sorted(tensors.items())],
    )


FRESH = "none is there, so it begins anew"
OF: list[str] = []


def pooled(folder: Path, job: int) -> None:
    """Clips of a pool."""
    clips_of(folder, job).batch(6, 0)


def clips_of(folder: Path, job: int) -> pool.Pool:
    """The pool: each clip is known by its number."""

    class Source:
        config, textures, frames, side = None, None, 2, 16

        def batch(self, clips: int, seed: int) -> object:
            from unblur.training.batches import Batch

            g = torch.Generator().manual_seed(seed + 99 * job)
            x = torch.rand(1, 2, 3, 16, 16, generator=g)
            flow = torch.rand(1, 1, 2, 4, 4, generator=g)
            return Batch(x, x, flow, flow)

    pool.fingerprint = lambda *_: f"kind{job}"
    return pool.Pool(Source(), folder / "pool", 3, 8, 0)


def pool_on(folder: Path) -> object:
    """A batch."""
    return [
        x.tolist() for x in (lambda b: (b.blurred, b.flow_forward))(clips_of(folder, 0).batch(6, 1))
    ]


STATES = {
    "video": State(
        lambda folder, job: begun(folder, job, "out.mkv"),
        lambda folder: folder_of(folder / "out.mkv"),
        resumed("out.mkv"),
    ),
    "images": State(
        lambda folder, job: begun(folder, job, "out", codec="png"),
        lambda folder: folder_of(folder / "out"),
        resumed("out", codec="png"),
    ),
    "training": State(trained, lambda folder: folder / "run" / "checkpoint", train_on),
    "fit": State(fitted, lambda folder: folder / "fit", fit_on),
    "pool": State(pooled, lambda folder: next((folder / "pool").iterdir()), pool_on),
}

if __name__ == "__main__":
    sys.exit(main())
