"""Trains look-s, which tells blur of motion from blur of focus, and measures it on held-out scenes.

Usage: python benchmarks/blur_kind.py train TEXTURES OUT.safetensors [--scenes N] [--first N]
           [--frames N] [--pool FOLDER] [--widths N N N N] [--start [WEIGHTS.safetensors]]
       python benchmarks/blur_kind.py measure [WEIGHTS.safetensors] [--widths N N N N]

TEXTURES is a bank as `unblur data textures` makes it; what is rendered from it stays in the pool,
and is read from there the next time. When a frame counts as blurred, by what, and
when either answer is right, `Truth.kinds` says; the limits were set before any frame was measured.
"""

from __future__ import annotations

import argparse
import copy
import io
import random
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from unblur import weights
from unblur.commands.analyze import LIKELY, kind_of, steady
from unblur.data.codec import Encoding, decode, through
from unblur.disk import write_file
from unblur.evaluation.encoded import FOLDER
from unblur.evaluation.rendered import CAMERA, DAYLIGHT, SIDE, moving, unfocused
from unblur.evaluation.suites import Sources, find_suite
from unblur.guidance.blur_kind import load_look_s, seen_by
from unblur.models import load_state
from unblur.models.look import CELL, Look, LookConfig
from unblur.synth import SceneConfig, TextureBank, held_out, render, sample_scenes

SPEEDS = ((2, 6), (6, 12), (12, 26), (26, 40))
RADII = ((1, 2), (2, 5), (5, 9), (9, 14))
KINDS = ("joint", "motion", "focus", "sharp", "joint", "focus", "motion", "sharp")
SUITES = ("synth-motion", "synth-focus", "synth-joint")
RATES = ("18", "20", "22", "23", "24", "26", "28", "29", "30", "32")
"""Rate factors of the H.264 that frames go through in training."""
MOVED, UNFOCUSED = 3.0, 1.5
"""Pixels of motion during the exposure, and of the radius, from which a pixel is blurred; half of
these is where it begins to be."""
MANY, FEW = 0.25, 0.1
"""Share of a frame's pixels from which it is blurred, and below which it is not."""
HIDES = 1.5
"""Motion shows beside a radius if it is longer than that many times; else the disk hides it."""
HIDDEN = 10.0
"""And a radius beside a motion up to this many times as long."""
EITHER = 0.5
BATCH = 16
WATCH = 500
"""Steps after which frames of other scenes are looked at."""
SHOWN = 4
"""Frames of a held-out scene that are looked at."""
CHUNK = 100
"""Scenes in a file of the pool."""
WATCHED, OTHERS = 200, 100_000
"""How many scenes these are, and the first one's number."""


class Truth(NamedTuple):
    """What is known of a frame."""

    maps: Tensor
    """(4, h, w) of cells: log(1 + pixels) of motion and radius, share of pixels blurred by each."""
    kinds: tuple[float, float]
    """By motion, by focus: 1 it is, 0 it is not, `EITHER` neither clearly."""

    @classmethod
    def of(cls, extent: Tensor, radius: Tensor) -> Truth:
        """Of (1, H, W) pixels of motion, and of the radius of the circle of confusion.

        A quarter of the pixels make a frame blurred; it is not where less than a tenth has half of
        the limit. Between, and where one kind hides the other, either answer is right.
        """
        motion = (extent >= MOVED) & (extent >= HIDES * radius)
        focus = (radius >= UNFOCUSED) & (radius >= extent / HIDDEN)
        cells = (extent.log1p(), radius.log1p(), motion.float(), focus.float())
        begun = extent >= MOVED / 2, radius >= UNFOCUSED / 2
        both = [clear(*pair) for pair in zip((motion, focus), begun, strict=True)]
        maps = F.avg_pool2d(torch.stack(cells, 1), CELL)[0]
        return cls(maps, (both[0], both[1]))


def clear(blurred: Tensor, begun: Tensor) -> float:
    """Whether a frame is blurred: by the pixels that are, and those that begin to be."""
    if float(blurred.float().mean()) >= MANY:
        return 1.0
    return 0.0 if float(begun.float().mean()) < FEW else EITHER


class Example(NamedTuple):
    """A frame, what is beside it, and its truth."""

    shown: Tensor
    """(1, H, W) luma as bytes."""
    beside: Tensor
    flow: Tensor
    """(2, H/4, W/4)."""
    truth: Truth

    @classmethod
    def of(cls, frames: Tensor, t: int, other: int, truth: Truth) -> Example:
        """Frame `t` of (T, 3, H, W) with another one."""
        shown, beside, flow = seen_by(frames[t], frames[other])
        luma = [(255 * x[0]).round().byte() for x in (shown, beside)]
        return cls(luma[0], luma[1], flow[0].half(), truth)


def scene(kind: str, draw: random.Random) -> SceneConfig:
    """Scenes of a kind; sharp ones stand still, or move before a quick shutter."""
    speed, radius = draw.choice(SPEEDS), draw.choice(RADII)
    if kind == "motion":
        return replace(moving("motion", speed), exposure=(0.3, 1.0))
    if kind == "focus":
        return unfocused(replace(DAYLIGHT, mode="focus"), radius)
    if kind == "joint":
        return replace(unfocused(moving("joint", speed), radius), exposure=(0.4, 1.0))
    chance = draw.random()
    if chance < 0.35:
        return unfocused(replace(DAYLIGHT, mode="focus"), (0, 0))
    if chance < 0.55:
        return moving("motion", (0, 0))
    quick = replace(DAYLIGHT, mode="motion", static=0.0, light=0.0, camera=CAMERA)
    return replace(quick, motion=(1.0, 24.0), exposure=(0.01, 0.03))


def lossy(frames: Tensor, draw: random.Random) -> Iterator[Tensor]:
    """Frames as they are, and out of two encoders."""
    yield frames
    for codec in ("h264", draw.choice(("h264", "h264", "h265", "mjpeg"))):
        if codec == "h264":
            preset = draw.choice(("medium", "veryfast"))
            yield through(
                frames, Encoding("libx264", {"crf": draw.choice(RATES), "preset": preset})
            )
        elif codec == "h265":
            options = {"crf": draw.choice(("22", "26", "30")), "x265-params": "log-level=none"}
            yield through(frames, Encoding("libx265", {"preset": "fast", **options}))
        else:
            yield through(frames, Encoding("mjpeg", {"qmin": "2", "qmax": "12"}))


def training(bank: TextureBank, scenes: range) -> list[Example]:
    """Three examples of each scene, which are told apart by their numbers."""
    made = []
    for i in scenes:
        draw = random.Random(10_000 + i)
        config = replace(scene(KINDS[i % len(KINDS)], draw), compressed=0.0, noise=0.6)
        generator = torch.Generator().manual_seed(978_000_000 + i)
        clip = render(
            sample_scenes(config, bank, 1, generator), SIDE, SIDE, 3, truth={"extent", "coc"}
        )
        assert clip.extent is not None
        assert clip.coc is not None
        truths = [Truth.of(clip.extent[0, t], clip.coc[0, t]) for t in range(3)]
        for frames in lossy(clip.blurred[0], draw):
            t = draw.randrange(3)
            other = t + 1 if t == 0 or (t == 1 and draw.random() < 0.3) else t - 1
            made.append(Example.of(frames, t, other, truths[t]))
    return made


def pooled(bank: TextureBank, scenes: range, folder: Path | None) -> list[Example]:
    """Examples of scenes, a file in the folder for each hundred of them."""
    if folder is None:
        return training(bank, scenes)
    folder.mkdir(parents=True, exist_ok=True)
    made: list[Example] = []
    for first in range(scenes.start, scenes.stop, CHUNK):
        file = folder / f"{first:06}.pt"
        if not file.is_file():
            part = training(bank, range(first, first + CHUNK))
            content = io.BytesIO()
            torch.save([(e.shown, e.beside, e.flow, tuple(e.truth)) for e in part], content)
            write_file(file, content.getvalue())
        for shown, beside, flow, truth in torch.load(file, weights_only=True):
            made.append(Example(shown, beside, flow, Truth(*truth)))
    return made


def varied(example: Example) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Luma, that of the neighbour, flow and maps, turned and mirrored at random."""
    shown, beside = example.shown.float() / 255, example.beside.float() / 255
    flow, maps = example.flow.float(), example.truth.maps
    if random.random() < 0.06:  # a frame that is shown twice seems to stand still
        beside, flow = shown, torch.zeros_like(flow)
    for axis in (0, 1):
        if random.random() < 0.5:
            shown, beside, flow, maps = (x.flip(2 - axis) for x in (shown, beside, flow, maps))
            flow = torch.cat([-flow[n : n + 1] if n == axis else flow[n : n + 1] for n in (0, 1)])
    if random.random() < 0.5:
        shown, beside, flow, maps = (x.mT for x in (shown, beside, flow.flip(0), maps))
    if random.random() < 0.3:
        sigma = random.choice((0.002, 0.005, 0.01))
        shown, beside = (x + sigma * torch.randn_like(x) for x in (shown, beside))
    if random.random() < 0.3:
        power = random.uniform(0.7, 1.4)
        shown, beside = (x.clamp(0, 1) ** power for x in (shown, beside))
    return shown, beside, flow, maps


def grown(narrow: Look, config: LookConfig) -> Look:
    """A network that is wider and says the same: what is new in it does not yet reach the old."""
    network = Look(config)
    joined = {"body.0.0.weight": flow_and_images, "kinds.0.weight": judged}
    for name, into in network.state_dict().items():
        value = narrow.state_dict()[name]
        if value.ndim < 2:
            into[tuple(slice(n) for n in value.shape)] = value
            continue
        parts = [(value.shape[1], into.shape[1])]  # of what comes in, before and now
        if name in joined:
            parts = list(zip(joined[name](narrow), joined[name](network), strict=True))
        columns, begin = [], 0
        for old, new in parts:
            columns += range(begin, begin + old)
            begin += new
        into[: len(value)] = 0
        into[: len(value), columns] = value
    return network


def begin(path: str, config: LookConfig) -> Look:
    """The weights in a file of that config; where none is named, those that ship, made wider."""
    if not path:
        return grown(load_look_s(), config)
    return load_state(Look(config), weights.load(Path(path)), path)


def flow_and_images(network: Look) -> tuple[int, ...]:
    """Channels of what the body of a network is given, part by part."""
    parts = network.frame, network.neighbour, network.flow
    return tuple(part[0].out_channels for part in parts)


def judged(network: Look) -> tuple[int, ...]:
    """The same of what says the kind of a frame."""
    return (network.cells.in_channels, network.cells.in_channels, 4)


def train(
    examples: list[Example], frames: int, watched: list[Example], network: Look, rate: float
) -> Look:
    """A network, as the mean over its last steps; prints how many it has right of those watched."""
    mean = copy.deepcopy(network)
    optimizer = torch.optim.AdamW(network.parameters(), rate, weight_decay=0.02)
    steps = frames // BATCH
    rise = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda n: min(1.0, 0.05 + n / (0.03 * steps)) * (1 - n / steps)
    )
    order: list[Example] = []
    for step in range(steps):
        if len(order) < BATCH:
            order += random.sample(examples, len(examples))
        chosen, order = order[:BATCH], order[BATCH:]
        shown, beside, flow, maps = (torch.stack(x) for x in zip(*map(varied, chosen), strict=True))
        kinds = torch.tensor([example.truth.kinds for example in chosen])
        weight = torch.where(kinds == EITHER, 0.0, 1.0)
        with torch.autocast("cpu", torch.bfloat16):
            cells, found = (x.float() for x in network(shown, beside, flow))
        told = F.binary_cross_entropy_with_logits(found, 0.96 * kinds + 0.02, weight)
        places = F.binary_cross_entropy_with_logits(cells[:, 2:], maps[:, 2:])
        loss = 2 * F.smooth_l1_loss(cells[:, :2], maps[:, :2]) + places + told
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 2.0)
        optimizer.step()
        rise.step()
        keep = min(0.998, (step + 1) / (step + 11))
        for old, new in zip(mean.state_dict().values(), network.state_dict().values(), strict=True):
            old.copy_(keep * old + (1 - keep) * new if old.is_floating_point() else new)
        if (step + 1) % WATCH == 0:
            print(f"{(step + 1) * BATCH} frames: loss {float(loss.detach()):.3f}, right", end=" ")
            mean.eval()
            found = share_right(mean, watched), share_right(mean, examples[: len(watched)])
            print(f"{found[0]:.1%}, of frames trained on {found[1]:.1%}", flush=True)
    return mean.eval()


def held_out_frames(suite: str, encoded: int | None) -> list[Example]:
    """Four frames of each scene of a suite, in their order."""
    found = []
    for i, maker in enumerate(find_suite(suite, Sources()).clips(Sources())):
        _, config, _, seed = maker.args  # type: ignore[attr-defined]
        generator = torch.Generator().manual_seed(seed)
        clip = render(
            sample_scenes(config, held_out(), 1, generator),
            *(SIDE, SIDE, SHOWN + 1),
            truth={"extent", "coc"},
        )
        assert clip.extent is not None
        assert clip.coc is not None
        frames = clip.blurred[0]
        if encoded is not None:
            with zipfile.ZipFile(FOLDER / f"{suite}-{encoded}.zip") as archive:
                frames = decode(archive.read(f"{i:02}.mkv"))
        frames = (frames * 255).round() / 255
        for t in range(1, SHOWN + 1):
            truth = Truth.of(clip.extent[0, t], clip.coc[0, t])
            found.append(Example.of(frames, t, t - 1, truth))
    return found


@torch.no_grad()
def chances(network: Look, examples: list[Example]) -> list[tuple[float, float]]:
    """Of being blurred by motion, and by focus."""
    found = []
    for e in examples:
        seen = e.shown[None].float() / 255, e.beside[None].float() / 255, e.flow[None].float()
        motion, focus = network(*seen).kinds[0].sigmoid().tolist()
        found.append((motion, focus))
    return found


def right(chance: tuple[float, float], truth: Truth) -> bool:
    """Whether an answer is right for both kinds."""
    pairs = zip(chance, truth.kinds, strict=True)
    return all(kind in (EITHER, float(value > LIKELY)) for value, kind in pairs)


def share_right(network: Look, examples: list[Example]) -> float:
    """Share of examples whose kind a network has right."""
    pairs = zip(chances(network, examples), examples, strict=True)
    return sum(right(chance, example.truth) for chance, example in pairs) / len(examples)


def named(kinds: tuple[float, float]) -> str:
    """A truth in words."""
    return "border" if EITHER in kinds else kind_of(*kinds)


def shares(pairs: list[tuple[tuple[float, float], Truth]]) -> str:
    """Of frames: right of motion, of focus, of both, and of being blurred at all."""
    found = []
    for truth_of in (lambda k: k[:1], lambda k: k[1:], lambda k: k, lambda k: (max(k),)):
        each = [
            all(
                kind in (EITHER, float(value > LIKELY))
                for value, kind in zip(truth_of(chance), truth_of(truth.kinds), strict=True)
            )
            for chance, truth in pairs
        ]
        found.append(f"{sum(each) / len(each):.1%}")
    return " | ".join(found)


def measure(network: Look) -> None:
    """Prints the shares that are right, by suite and in all, and what is taken for what.

    Of every other frame, each judged with those beside it.
    """
    for encoded in (None, 23, 29):
        every: list[tuple[tuple[float, float], Truth]] = []
        for suite in SUITES:
            examples = held_out_frames(suite, encoded)
            seen = chances(network, examples)
            scenes = [steady(seen[n : n + SHOWN]) for n in range(0, len(seen), SHOWN)]
            steadied = [chance for scene in scenes for chance in scene]
            pairs = [(c, e.truth) for c, e in zip(steadied, examples, strict=True)][1::2]
            print(f"| {encoded} | {suite} | {shares(pairs)} |")
            every += pairs
        print(f"| {encoded} | all | {shares(every)} |")
        table = Counter((named(truth.kinds), kind_of(*chance)) for chance, truth in every)
        for is_, called in sorted(table):
            print(f"  {is_} called {called}: {table[is_, called]}")


def main() -> None:
    """Trains or measures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    training_ = verbs.add_parser("train")
    training_.add_argument("textures")
    training_.add_argument("out")
    training_.add_argument("--scenes", type=int, default=1000)
    training_.add_argument("--first", type=int, default=0, help="number of the first scene")
    training_.add_argument("--frames", type=int, default=40_000)
    training_.add_argument("--pool", type=Path, help="folder for what is rendered")
    training_.add_argument(
        "--start", nargs="?", const="", help="from the weights that ship, or from others"
    )
    measuring = verbs.add_parser("measure")
    measuring.add_argument("weights", nargs="?", type=Path)
    for verb in (training_, measuring):
        verb.add_argument("--widths", type=int, nargs=4, default=LookConfig().widths)
    options = parser.parse_args()
    config = LookConfig(tuple(options.widths))
    if options.verb == "measure":
        network = load_look_s()
        if options.weights is not None:
            path = options.weights
            network = load_state(Look(config), weights.load(path), str(path))
        measure(network)
        return
    torch.manual_seed(0)
    random.seed(0)
    bank = TextureBank.load(options.textures)
    scenes = range(options.first, options.first + options.scenes)
    examples = pooled(bank, scenes, options.pool)
    watched = pooled(bank, range(OTHERS, OTHERS + WATCHED), options.pool)
    network, rate = Look(config), 2e-3
    if options.start is not None:
        network, rate = begin(options.start, config), 1e-3
    network = train(examples, options.frames, watched, network.train(), rate)
    facts = {"name": "look-s", "network": "look-s", "licence": "Apache-2.0"}
    weights.save(options.out, network.half().state_dict(), facts)
    measure(network.float())


if __name__ == "__main__":
    main()
