"""The disk blur for GPUs: on a GPU where there is one, else in Triton's interpreter."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from torch import Tensor

from unblur.optics.disk_blur import disk_blur
from unblur.optics.disk_kernels import soft_disk, softness

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
if DEVICE == "cpu":
    os.environ["TRITON_INTERPRET"] = "1"  # Triton reads it when it is imported
pytest.importorskip("triton", reason="Triton is not installed")


def draw(*shape: int, seed: int) -> Tensor:
    """Numbers in [0, 1] on the CPU, where the truth is, whatever `--device` says."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(*shape, generator=generator, device="cpu")


def spread_all_at_once(x: Tensor, radius: Tensor, beta: float | None) -> Tensor:
    """The definition, as one matrix from sources to where they send their light."""
    H, W = x.shape[-2:]
    rows, columns, tap = (torch.arange(*ends, device="cpu") for ends in ((0, H), (0, W), (-20, 21)))
    places = torch.cartesian_prod(rows, columns).double()
    taps = torch.cartesian_prod(tap, tap).double().norm(dim=1)
    r = radius.reshape(-1, 1)  # (H W, 1)
    soft = softness(r) if beta is None else torch.full_like(r, beta)
    area = soft_disk(r - taps, soft).sum(1, keepdim=True)
    sent = soft_disk(r - torch.cdist(places, places), soft) / area  # (H W of sources, H W)
    return (x.flatten(2)[0] @ sent).reshape(x.shape)


@pytest.mark.parametrize("beta", [None, 2.0])
def test_is_its_definition(monkeypatch, beta):
    from unblur.optics import disk_triton

    monkeypatch.setattr(disk_triton, "BLOCK", 16)
    image, towards = (draw(1, c, 3, 4, seed=c).double() for c in (2, 3))
    radius = 0.1 + 1.5 * draw(1, 1, 3, 4, seed=1).double()
    exact = image.clone().requires_grad_(), radius.clone().requires_grad_()
    truth = spread_all_at_once(torch.cat((exact[0], torch.ones_like(radius)), 1), exact[1], beta)
    (truth * towards).sum().backward()
    ours = [x.float().to(DEVICE).requires_grad_() for x in (image, radius)]
    try:
        out = disk_triton.spread(*ours, beta)
    except Exception as error:
        if DEVICE == "cpu" and "0-dimensional arrays" in str(error):
            pytest.skip("Triton's interpreter is older than this NumPy")
        raise
    (out * towards.float().to(DEVICE)).sum().backward()
    torch.testing.assert_close(out.cpu().double(), truth, atol=1e-5, rtol=0)
    for a, b in zip(ours, exact, strict=True):
        torch.testing.assert_close(a.grad.cpu().double(), b.grad, atol=1e-4, rtol=0)


@pytest.mark.skipif(DEVICE == "cpu", reason="there is no GPU")
def test_on_a_gpu_it_equals_the_mix_of_kernels():
    image, radius = draw(2, 3, 90, 120, seed=0), 16 * draw(2, 1, 90, 120, seed=1)
    here = image.clone().requires_grad_(), radius.clone().requires_grad_()
    there = image.cuda().requires_grad_(), radius.cuda().requires_grad_()
    out = disk_blur(*there)
    truth = disk_blur(*here)
    assert (out.cpu() - truth).abs().max() < 0.02
    out.square().sum().backward()
    truth.square().sum().backward()
    for a, b in zip(there, here, strict=True):
        assert (a.grad.cpu() - b.grad).norm() < 0.1 * b.grad.norm()


COMPILE = """
import triton
from triton.backends.compiler import GPUTarget
from unblur.optics import disk_triton

def kind(name):
    if name in ("CHANNELS", "BLOCK"):
        return "constexpr"
    return "i32" if name in ("H", "W", "reach") else "*fp32"

for kernel in (disk_triton.areas, disk_triton.gather, disk_triton.collect):
    names = kernel.arg_names
    sizes = {"CHANNELS": 8, "BLOCK": disk_triton.BLOCK}
    constants = {(names.index(name),): n for name, n in sizes.items() if name in names}
    kinds = {name: kind(name) for name in names}
    source = triton.compiler.ASTSource(kernel, signature=kinds, constexprs=constants)
    built = triton.compile(source, target=GPUTarget("cuda", 90, 32))
    assert built.asm["cubin"]
"""


def test_kernels_compile_to_machine_code_of_a_gpu(tmp_path):
    known = {**os.environ, "TRITON_CACHE_DIR": str(tmp_path)}
    known.pop("TRITON_INTERPRET", None)
    done = subprocess.run(
        [sys.executable, "-c", COMPILE], env=known, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
