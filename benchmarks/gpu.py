"""What unblur costs on a GPU: one command, one table.

    python benchmarks/gpu.py --minutes 3
    python benchmarks/gpu.py --device cpu --tiny      # the rehearsal: every row at a tiny size

Rows in the order of their worth, until the time is up: networks that ship at 480p, 720p, 1080p and
4K in fp32, bf16 and fp16; whole jobs, with the share of each stage; motion-m with channels last;
flow-s; the papers' networks at their official sizes, BSSTNet with 12 to 60 frames, sparse and
dense; fits of an atlas; RAFT; the disk blur against what memory can move; motion-m in CUDA graphs,
which may spoil what runs after them, and compiled.
`GB` is the peak of the device's memory. Each row is measured after one run that chooses kernels. A
row that fails holds its error, and the next one follows.

Needs neither PyAV nor OpenCV: where they are missing, jobs go without decoding, encoding and flow
that is found. Writes results/gpu.csv and results/gpu.md beside this file, or the same into --out.
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import table
import torch
import torch.nn.functional as F
from torch import Tensor

from unblur import weights
from unblur.atlas.fitting.fit import Fitter, Targets
from unblur.atlas.fitting.model import LayeredModel, LayerStart, to_working
from unblur.atlas.fitting.motion import GAPS, Motion
from unblur.atlas.fitting.paper import PaperModel
from unblur.atlas.fitting.presets import PRESETS, FitConfig
from unblur.data.codec import Encoding, decode, encode
from unblur.engine.fusion import Fusion, fuse
from unblur.errors import UnblurError, UsageError
from unblur.guidance.flow import flow_s, load_flow_s
from unblur.models import aligned, bsstnet, dabit
from unblur.models.maxim import Maxim, MaximConfig
from unblur.models.raft import Raft
from unblur.ops.device import choose_device
from unblur.optics.disk_blur import disk_blur
from unblur.restorers import registry
from unblur.restorers.base import LoadOptions, Precision, Priors
from unblur.weights.difference import load_whole

SIZES = {"480p": (480, 854), "720p": (720, 1280), "1080p": (1080, 1920), "4K": (2160, 3840)}
TINY = {"tiny": (64, 96)}
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
PRECISIONS = {"480p": ("bf16", "fp32", "fp16"), "tiny": ("bf16",)}
REPEATS = 3
SHIPPED = ("motion-m", "focus-m", "motion-s", "focus-s", "maxim-stage1")
ARMS = ("plain", "channels_last")
"""How motion-m is run beside how it is by itself."""
JOB = 8
"""Frames of a job whose stages are timed."""
ENCODING = Encoding("libx264", {"crf": "18", "preset": "veryfast"})
HAS_OPENCV, HAS_PYAV = (find_spec(name) is not None for name in ("cv2", "av"))
Row = dict[str, object]
Case = Callable[[], Row]
"""Measures a row."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=3.0, help="after which no row begins")
    parser.add_argument("--atlas-minutes", type=float, default=0.5, help="of each fit")
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1 or cpu")
    parser.add_argument("--tiny", action="store_true", help="a rehearsal: tiny sizes")
    parser.add_argument("--only", default="", help="rows whose name begins so")
    parser.add_argument("--out", type=Path, default=None, help="folder of the results")
    options = parser.parse_args()
    if options.out is not None:
        table.RESULTS = options.out
    device = choose_device(options.device, mps=False)
    bench = Bench(device, options.tiny, options.atlas_minutes)
    measure(bench, options.minutes, options.only)


@dataclasses.dataclass(frozen=True)
class Bench:
    """Where rows are measured, and at what sizes."""

    device: torch.device
    tiny: bool
    atlas_minutes: float = 0.5

    @property
    def gpu(self) -> bool:
        """Whether there is a GPU to wait for, with memory of its own."""
        return self.device.type == "cuda"

    def wait(self) -> None:
        """Until the device has done all that it was given."""
        if self.gpu:
            torch.cuda.synchronize(self.device)

    def peak(self) -> str:
        """GB of the device's memory."""
        return f"{torch.cuda.max_memory_allocated(self.device) / 1e9 if self.gpu else 0.0:.2f}"


def measure(bench: Bench, minutes: float, only: str = "") -> list[Row]:
    """All rows that the time holds."""
    began = time.monotonic()
    end = began + 60 * minutes
    rows: list[Row] = []
    name = torch.cuda.get_device_name(bench.device) if bench.gpu else "CPU"
    about = f"{name}, torch {torch.__version__}; mean of {repeats(bench)} run(s) after one."
    about += " A rehearsal." if bench.tiny else ""
    lacking = [name for name in ("av", "cv2", "triton") if find_spec(name) is None]
    print(f"{about} Not here: {', '.join(lacking) or 'nothing'}.", flush=True)
    for what, case in cases(bench):
        if not what.startswith(only):
            continue
        row = {"what": what} | attempted(case, bench)
        rows.append(row)
        print(f"{time.monotonic() - began:.0f} s", end=" ")
        print(" ".join(f"{key}={value}" for key, value in row.items()), flush=True)
        table.write("gpu", about, rows, show=False)  # a kill leaves what there is
        if time.monotonic() > end:
            break
    if not rows:
        raise UsageError(f"--only {only}: no row begins so; without it all are named as they come")
    table.write("gpu", about, rows)
    return rows


def repeats(bench: Bench) -> int:
    """Runs that are timed."""
    return 1 if bench.tiny else REPEATS


def cases(bench: Bench) -> Iterator[tuple[str, Case]]:
    """The rows by name, each opened when its turn has come."""
    sizes = TINY if bench.tiny else SIZES
    named = list(sizes.items())
    first, largest = named[0], named[-1]
    for size in named:
        for network in SHIPPED:
            for precision in PRECISIONS.get(size[0], ("bf16",)):
                yield network, partial(shipped, bench, network, size, precision)
        if size in (first, named[min(2, len(named) - 1)]):
            for network in SHIPPED:
                yield f"job, {network}", partial(job, bench, network, size)
            for arm in ARMS:
                yield f"motion-m, {arm}", partial(arm_case, bench, arm, size)
        yield "flow-s", partial(flow, bench, size)
    for length in (4,) if bench.tiny else (12, 24, 48, 60):
        for attention in ("sparse", "dense"):
            what = f"BSSTNet, {attention}, T = {length}"
            yield what, partial(bsstnet_case, bench, length, attention, ("256p", (256, 256)))
    yield "DaBiT", partial(dabit_case, bench, ("256p", (256, 256)))
    for preset in ("fast", "paper"):
        yield f"atlas, {preset}", partial(atlas_case, bench, preset)
    for size in named[:1] if bench.tiny else named[:2]:
        for precision in ("fp32", "bf16", "fp16"):
            yield "BSSTNet", partial(bsstnet_case, bench, 12, "sparse", size, precision)
            yield "DaBiT", partial(dabit_case, bench, size, precision)
    yield "RAFT", partial(raft_case, bench, first)
    for radius in (4.0, 16.0):
        yield f"disk blur, radius {radius:.0f}", partial(disk_case, bench, largest, radius)
    yield "motion-m, graph", partial(arm_case, bench, "graph", first)
    if not bench.tiny:  # to compile takes minutes, even for a rehearsal
        yield "motion-m, compiled", partial(arm_case, bench, "compiled", first)


def attempted(case: Case, bench: Bench) -> Row:
    """A row; an error, such as too little memory, stands in place of its figures."""
    gc.collect()
    if bench.gpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(bench.device)
    try:
        return case()
    except Exception as error:
        text = str(error).splitlines() or [""]
        return {"error": f"{type(error).__name__}: {text[0][:80]}"}


def timed(bench: Bench, about: Row, run: Callable[[], object], frames: int) -> Row:
    """What it was and how fast it restored so many frames."""
    with torch.inference_mode():
        run()
        bench.wait()
        began = time.perf_counter()
        for _ in range(repeats(bench)):
            run()
        bench.wait()
    seconds = (time.perf_counter() - began) / repeats(bench)
    row = about | {
        "frames/s": f"{frames / seconds:.2f}",
        "ms/frame": f"{1e3 * seconds / frames:.1f}",
    }
    if "GB moved" in about:
        row["GB/s"] = f"{float(str(about['GB moved'])) / seconds:.1f}"
    return row | {"GB": bench.peak()}


def noise(device: torch.device, *shape: int) -> Tensor:
    """The same numbers each time, in [0, 1]."""
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0)).to(device)


Size = tuple[str, tuple[int, int]]
"""A name, and height and width in pixels."""


def shipped(bench: Bench, network: str, size: Size, precision: str) -> Row:
    """One frame of a network that ships, as its restorer runs it."""
    run = frame_of(bench, network, size[1], DTYPES[precision])[1]
    return timed(bench, {"size": size[0], "precision": precision}, run, 1)


def frame_of(
    bench: Bench, network: str, shape: tuple[int, int], dtype: torch.dtype
) -> tuple[torch.nn.Module, Callable[[], Tensor]]:
    """A network, and what restores a frame by it."""
    device = bench.device
    H, W = (side + -side % 64 for side in shape)
    path = weights.PACKAGE_FOLDER / f"{network}.safetensors"
    if network == "maxim-stage1":
        maxim = Maxim(MaximConfig())
        maxim.load_state_dict(weights.load(path))
        maxim.to(device, dtype).eval()
        frame = noise(device, 1, 3, H, W)
        return maxim, lambda: maxim(frame)
    config = {
        "motion-m": aligned.MOTION_M,
        "motion-s": aligned.MOTION_S,
        "focus-m": aligned.FOCUS_M,
        "focus-s": aligned.FOCUS_S,
    }[network]
    net = aligned.Aligned(config)
    net.load_state_dict(load_whole(path, partial(aligned.begin_from, config=config)))
    net.to(device, dtype).eval()
    frames = 1 + 2 * config.neighbours
    clip = noise(device, 1, frames, 3, H, W)
    flows: list[Tensor | None] = [None, None]
    if config.neighbours:
        stride = aligned.FLOW_STRIDE
        each = noise(device, 1, frames - 1, 2, -(-H // stride), -(-W // stride))
        flows = [each, -each]
    radius = 5 * noise(device, 1, frames, 1, H, W) if config.guided else None
    return net, lambda: net(clip, *flows, [frames // 2], radius)


def arm_case(bench: Bench, arm: str, size: Size) -> Row:
    """motion-m in bf16, run in another way."""
    with torch.inference_mode():
        run: Callable[[], object]
        net, run = frame_of(bench, "motion-m", size[1], torch.bfloat16)
        if arm == "channels_last":
            net.to(memory_format=torch.channels_last)
        elif arm == "compiled":
            net.forward = torch.compile(net.forward)
        elif arm == "graph" and bench.gpu:
            run = captured(run)
    return timed(bench, {"size": size[0], "precision": "bf16"}, run, 1)


def captured(run: Callable[[], Tensor]) -> Callable[[], None]:
    """The same in a CUDA graph: launched at once."""
    beside = torch.cuda.Stream()
    beside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(beside):
        for _ in range(3):
            run()
    torch.cuda.current_stream().wait_stream(beside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return graph.replay


class Stages:
    """Seconds of each stage of a job."""

    def __init__(self, bench: Bench) -> None:
        self.bench, self.seconds = bench, dict[str, float]()

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Counts what is done within as of that stage."""
        self.bench.wait()
        began = time.perf_counter()
        yield
        self.bench.wait()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - began


def job(bench: Bench, network: str, size: Size) -> Row:
    """Frames through all stages one after the other; in use some of them overlap."""
    precision: Precision = "bf16"
    options = LoadOptions(bench.device, precision, None)
    restorer = registry.PRESETS[network].load(options)
    if not HAS_OPENCV and hasattr(restorer, "flow"):
        restorer.flow = still
    count = 3 if bench.tiny else JOB
    clip = noise(torch.device("cpu"), count, 3, *size[1])
    file = encode(clip, ENCODING) if HAS_PYAV else b""
    radius = restorer.info.fuse or 2

    def run() -> dict[str, float]:
        stage, frames = Stages(bench), clip
        if HAS_PYAV:
            with stage("decode"):
                frames = decode(file)
        priors = None
        if restorer.info.needs_depth and not HAS_OPENCV:
            maps = torch.full_like(frames[:, :1], 0.5)
            priors = Priors(tuple(range(count)), maps, maps)
        with stage("guidance"):
            guidance = restorer.guide(frames, priors) if priors else restorer.guide(frames)
        with stage("network"):
            restored = restorer.run(frames, guidance, range(count)).clamp(0, 1)
        with stage("fuse"):
            fusion = Fusion(radius, alignment(), bench.device)
            items = zip(range(count), frames, restored.float(), strict=True)
            fused = torch.stack([image for _, image in fuse(items, fusion)])
        if HAS_PYAV:
            with stage("encode"):
                encode(fused, ENCODING)
        return stage.seconds

    with torch.inference_mode():
        run()
        spent = run()
    total = sum(spent.values())
    row: Row = {"size": size[0], "precision": precision, "frames/s": f"{count / total:.2f}"}
    row["ms/frame"] = f"{1e3 * total / count:.1f}"
    row |= {f"{stage} %": f"{100 * seconds / total:.1f}" for stage, seconds in spent.items()}
    return row | {"GB": bench.peak()}


def still(frames: Tensor) -> tuple[Tensor, Tensor]:
    """In place of flow that OpenCV finds: nothing moves."""
    T, _, H, W = frames.shape
    flow = frames.new_zeros(T - 1, 2, -(-H // 4), -(-W // 4))
    return flow, flow


class Still:
    """In place of OpenCV's alignment: nothing moves, and it is looked up on the device."""

    def look(self, half: Tensor) -> Tensor:
        """What motion would be found in."""
        return half

    def flow(self, here: Tensor, there: Tensor, guess: Tensor | None = None) -> Tensor:
        """None."""
        return here.new_zeros(2, *here.shape[-2:])

    def rest(self) -> None:
        """It holds nothing."""

    def take(self, image: Tensor, columns: Tensor, rows: Tensor) -> Tensor:
        """Bicubic values."""
        height, width = image.shape[-2:]
        places = (2 * (columns + 0.5) / width - 1, 2 * (rows + 0.5) / height - 1)
        grid = torch.stack(places, dim=-1)[None]
        how = {"mode": "bicubic", "padding_mode": "border", "align_corners": False}
        return F.grid_sample(image[None], grid, **how)[0]


def alignment() -> Still:
    """OpenCV's, or what stands in for it."""
    if not HAS_OPENCV:
        return Still()
    from unblur.guidance.align import DisAlignment

    return DisAlignment()


def flow(bench: Bench, size: Size) -> Row:
    """flow-s both ways between two frames; its network alone without OpenCV, which it starts by."""
    net = load_flow_s(bench.device)
    clip = noise(bench.device, 2, 3, *size[1])
    start = noise(bench.device, 1, 1, 2, *(-(-side // 4) for side in size[1]))
    about: Row = {"size": size[0], "precision": "fp32"}
    if not HAS_OPENCV:
        return timed(bench, about, lambda: net(clip[None], start, -start), 1)
    return timed(bench, about, lambda: flow_s(net, clip), 1)


def half(bench: Bench, precision: str) -> torch.autocast:
    """Autocast, as restorers of the papers' networks run them."""
    dtype = DTYPES[precision]
    return torch.autocast(bench.device.type, dtype, dtype != torch.float32)


def bsstnet_case(
    bench: Bench, length: int, attention: str, size: Size, precision: str = "fp32"
) -> Row:
    """BSSTNet at its official size; on 256 x 256 as in Tables 3 and 4 of its paper."""
    config = bsstnet.TINY if bench.tiny else bsstnet.OFFICIAL
    H, W = (64, 64) if bench.tiny else size[1]
    length = min(length, 4) if bench.tiny else length
    selection, keep = ("paper", 0.5) if attention == "sparse" else ("dense", 1.0)
    net = bsstnet.BSSTNet(dataclasses.replace(config, selection=selection, keep=keep))
    net.to(bench.device).eval()
    clip = noise(bench.device, 1, length, 3, H, W)
    each = noise(bench.device, 1, length - 1, 2, -(-H // 4), -(-W // 4))

    def run() -> Tensor:
        with half(bench, precision):
            return net(clip, each, -each)

    return timed(bench, {"size": f"{W}x{H}", "precision": precision}, run, length)


def dabit_case(bench: Bench, size: Size, precision: str = "fp32") -> Row:
    """DaBiT at its official size, 10 frames and 6 references."""
    config = dabit.TINY if bench.tiny else dabit.OFFICIAL
    H, W = (64, 64) if bench.tiny else size[1]
    local, length = (3, 4) if bench.tiny else (10, 16)
    device = bench.device
    net = dabit.Dabit(config).to(device).eval()
    clip, blur = noise(device, 1, length, 3, H, W), noise(device, 1, length, 1, H, W)
    each = 2 * noise(device, 1, length - 1, 2, H, W)
    mask, scale = torch.ones_like(blur), config.scales[-1]

    def run() -> Tensor:
        with half(bench, precision):
            return net(clip, blur, blur, mask, each, -each, outputs=local, scale=scale)

    return timed(bench, {"size": f"{W}x{H}", "precision": precision}, run, local)


def atlas_case(bench: Bench, preset: str) -> Row:
    """A fit of a clip whose motion, masks and radii are known: how long a step takes, how far it
    comes.
    """
    frames, (H, W) = (4, (48, 64)) if bench.tiny else (60, (288, 512))
    config = PRESETS[preset]
    if bench.tiny:
        config = dataclasses.replace(config, widths=(8, 8, 8, 8), samples=64, upright=2)
    fitter = two_layers(bench.device, frames, H, W, config)
    limit = 0.02 if bench.tiny else bench.atlas_minutes
    before = time.monotonic()
    fitter.run(None, limit)
    bench.wait()
    spent = time.monotonic() - before
    return {
        "size": f"{W}x{H}",
        "precision": "fp32",
        "steps": fitter.done,
        "ms/step": f"{1e3 * (fitter.seconds - fitter.prepared) / max(1, fitter.done):.0f}",
        "minutes": f"{spent / 60:.2f}",
        "PSNR": f"{fitter.psnr:.2f}",
        "GB": bench.peak(),
    }


def two_layers(device: torch.device, frames: int, H: int, W: int, config: FitConfig) -> Fitter:
    """A square that moves to the left before a wall that moves to the right, while the focus goes
    from one to the other.
    """
    slow, fast, widest = 0.5, -1.0, 4.0
    cpu = torch.device("cpu")
    margin = 2 * frames
    wide = (H + 2 * margin, W + 2 * margin)
    textures = [
        F.interpolate(noise(cpu, 2, 3, wide[0] // 4, wide[1] // 4), wide, mode="bicubic")[i]
        for i in range(2)
    ]
    mask = torch.zeros(wide)
    mask[margin + H // 4 : margin + 3 * H // 4, margin + W // 3 : margin + 2 * W // 3] = 1
    images, labels, moves = [], [], []
    way = torch.linspace(0, widest, frames)
    for t in range(frames):
        shifts = [round(speed * t) for speed in (slow, fast)]
        back, front, alpha = (
            x[..., margin : margin + H, margin - shift : margin - shift + W]
            for x, shift in zip((textures[0], textures[1], mask), (*shifts, shifts[1]), strict=True)
        )
        behind = disk_blur(back[None], torch.full((1, 1, H, W), float(widest - way[t])))[0]
        images.append(torch.lerp(behind, front, alpha).clamp(0, 1))
        labels.append(alpha > 0.5)
        moves.append(shifts)
    labelled = torch.stack(labels)  # (T, H, W)
    masks = torch.stack((~labelled, labelled))
    flows, valid = {}, {}
    for gap in (gap for gap in GAPS if gap < frames):
        for a, b in [(t, t + gap) for t in range(frames - gap)]:
            for start, end in ((a, b), (b, a)):
                x = torch.where(
                    labelled[start],
                    float(moves[end][1] - moves[start][1]),
                    float(moves[end][0] - moves[start][0]),
                )
                flows[start, end] = torch.stack((x, torch.zeros_like(x))).half()
                valid[start, end] = torch.ones(1, H, W, dtype=torch.bool)
    clip = torch.stack(images)
    radii = torch.stack((widest - way, way))  # (2, T)
    if config.mapping == "mlp":
        maps = torch.where(
            labelled[:, None], radii[1].view(-1, 1, 1, 1), radii[0].view(-1, 1, 1, 1)
        )
        mean = to_working(clip, config.linear).mean((0, 2, 3))
        names = ["background", "foreground"]
        model: LayeredModel = PaperModel(frames, (H, W), names, maps, mean, config)
    else:
        starts = []
        for i, name in enumerate(("background", "foreground")):
            ways = torch.eye(3, dtype=torch.float64).repeat(frames, 1, 1)
            ways[:, 0, 2] = torch.tensor([margin - shifts[i] for shifts in moves])
            ways[:, 1, 2] = margin
            flat = to_working(clip.mean((0, 2, 3)), config.linear).view(3, 1, 1).expand(3, *wide)
            opacity = mask[None] if i else None
            starts.append(LayerStart(name, ways, flat.clone(), opacity, radii[i].view(-1, 1, 1, 1)))
        model = LayeredModel(starts, (H, W), config)
    targets = Targets(clip.to(device), Motion(flows, valid), masks, config)
    return Fitter(model.to(device), targets, config)


def raft_case(bench: Bench, size: Size) -> Row:
    """RAFT, 20 iterations, one way."""
    net = Raft().to(bench.device).eval()
    H, W = (max(128, side + -side % 8) for side in size[1])
    first, second = noise(bench.device, 2, 1, 3, H, W)
    return timed(bench, {"size": size[0], "precision": "fp32"}, lambda: net(first, second), 1)


def disk_case(bench: Bench, size: Size, radius: float) -> Row:
    """The disk blur of a frame: what it reads and writes at least, against its time."""
    image = noise(bench.device, 1, 3, *size[1])
    radii = torch.full((1, 1, *size[1]), radius, device=bench.device)
    moved = (2 * image.numel() + radii.numel()) * 4 / 1e9
    about: Row = {"size": size[0], "precision": "fp32", "GB moved": f"{moved:.4f}"}
    return timed(bench, about, lambda: disk_blur(image, radii), 1)


if __name__ == "__main__":
    try:
        main()
    except UnblurError as error:  # a wrong name is no fault of the script
        sys.exit(f"error: {error}")
