"""The disk blur for GPUs: on a GPU where there is one, else in Triton's interpreter."""

from __future__ import annotations

import os

import pytest
import torch
from torch import Tensor

from unblur.optics.disk_blur import disk_blur
from unblur.optics.disk_kernels import soft_disk, softness

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
if DEVICE == "cpu":
    os.environ["TRITON_INTERPRET"] = "1"  # Triton reads it when it is imported
pytest.importorskip("triton", reason="Triton is not installed")


def spread_all_at_once(x: Tensor, radius: Tensor, beta: float | None) -> Tensor:
    """The definition, as one matrix from sources to where they send their light."""
    H, W = x.shape[-2:]
    places = torch.cartesian_prod(torch.arange(H), torch.arange(W)).double()
    taps = torch.cartesian_prod(torch.arange(-20, 21), torch.arange(-20, 21)).double().norm(dim=1)
    r = radius.reshape(-1, 1)  # (H W, 1)
    soft = softness(r) if beta is None else torch.full_like(r, beta)
    area = soft_disk(r - taps, soft).sum(1, keepdim=True)
    sent = soft_disk(r - torch.cdist(places, places), soft) / area  # (H W of sources, H W)
    return (x.flatten(2)[0] @ sent).reshape(x.shape)


@pytest.mark.parametrize("beta", [None, 2.0])
def test_is_its_definition(monkeypatch, beta):
    from unblur.optics import disk_triton

    monkeypatch.setattr(disk_triton, "BLOCK", 16)
    generator = torch.Generator().manual_seed(0)
    image, towards = (torch.rand(1, c, 3, 4, generator=generator).double() for c in (2, 3))
    radius = 0.1 + 1.5 * torch.rand(1, 1, 3, 4, generator=generator).double()
    exact = image.clone().requires_grad_(), radius.clone().requires_grad_()
    truth = spread_all_at_once(torch.cat((exact[0], torch.ones_like(radius)), 1), exact[1], beta)
    (truth * towards).sum().backward()
    ours = [x.float().to(DEVICE).requires_grad_() for x in (image, radius)]
    out = disk_triton.spread(*ours, beta)
    (out * towards.float().to(DEVICE)).sum().backward()
    torch.testing.assert_close(out.cpu().double(), truth, atol=1e-5, rtol=0)
    for a, b in zip(ours, exact, strict=True):
        torch.testing.assert_close(a.grad.cpu().double(), b.grad, atol=1e-4, rtol=0)


@pytest.mark.skipif(DEVICE == "cpu", reason="there is no GPU")
def test_on_a_gpu_it_equals_the_mix_of_kernels():
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(2, 3, 90, 120, generator=generator)
    radius = 16 * torch.rand(2, 1, 90, 120, generator=generator)
    here = image.clone().requires_grad_(), radius.clone().requires_grad_()
    there = image.cuda().requires_grad_(), radius.cuda().requires_grad_()
    out = disk_blur(*there)
    truth = disk_blur(*here)
    assert (out.cpu() - truth).abs().max() < 0.02
    out.square().sum().backward()
    truth.square().sum().backward()
    for a, b in zip(there, here, strict=True):
        assert (a.grad.cpu() - b.grad).norm() < 0.1 * b.grad.norm()
