"""Transfer functions: known points, exact round trips, finite gradients."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unblur.errors import MediaError
from unblur.ops.color import PQ_PEAK, from_linear, known_transfers, to_linear

TRANSFERS = sorted(known_transfers())


@pytest.mark.parametrize(
    ("transfer", "encoded", "light"),
    [
        ("iec61966-2-1", 0.5, 0.2140411),
        ("iec61966-2-1", 0.04, 0.04 / 12.92),
        (None, 0.5, 0.2140411),
        ("bt709", 0.5, 0.2597194),
        ("bt709", 0.045, 0.01),
        ("smpte170m", 0.5, 0.2597194),
        ("bt2020-10", 0.5, 0.2597194),
        ("smpte240m", 0.08, 0.02),
        ("gamma22", 0.5, 0.5**2.2),
        ("gamma28", 0.5, 0.5**2.8),
        ("smpte2084", 0.5080784, 100 / PQ_PEAK),
        ("smpte2084", 0.7518271, 1000 / PQ_PEAK),
        ("smpte2084", 0.5806889, 203 / PQ_PEAK),
        ("arib-std-b67", 0.5, 1 / 12),
        ("arib-std-b67", 0.75, 0.2649626),
        ("linear", 0.5, 0.5),
    ],
)
def test_published_points(transfer, encoded, light):
    x = torch.tensor([encoded], dtype=torch.float64)
    assert to_linear(x, transfer).item() == pytest.approx(light, rel=1e-5)
    back = from_linear(torch.tensor([light], dtype=torch.float64), transfer)
    assert back.item() == pytest.approx(encoded, rel=1e-5)


@pytest.mark.parametrize("transfer", TRANSFERS)
def test_black_is_black_and_white_is_white(transfer):
    ends = torch.tensor([0.0, 1.0], dtype=torch.float64)
    white = 52.37 / 48 if transfer == "smpte428" else 1.0  # DCI's white leaves headroom
    expected = torch.tensor([0.0, white], dtype=torch.float64)
    torch.testing.assert_close(to_linear(ends, transfer), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("transfer", TRANSFERS)
@given(value=st.floats(-4, 4))
def test_round_trip_is_exact_and_odd(transfer, value):
    x = torch.tensor([value, -value], dtype=torch.float64)
    light = to_linear(x, transfer)
    assert light[0] == -light[1]
    torch.testing.assert_close(from_linear(light, transfer), x, atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(
        to_linear(from_linear(x, transfer), transfer), x, atol=1e-9, rtol=1e-9
    )


@pytest.mark.parametrize("transfer", TRANSFERS)
def test_every_16_bit_code_survives_float32(transfer):
    codes = torch.arange(65536, dtype=torch.float32)
    back = from_linear(to_linear(codes / 65535, transfer), transfer)
    assert torch.equal((back * 65535).round(), codes)


@pytest.mark.parametrize("transfer", TRANSFERS)
@pytest.mark.parametrize("function", [to_linear, from_linear])
def test_rises_without_jumps_and_with_finite_gradients(transfer, function):
    # Dense around 0 and 1, where pieces meet and formulas have poles.
    x = torch.cat([torch.linspace(-3, 3, 60001), torch.logspace(-12, 0, 5001)]).double()
    x = x.sort().values.unique().requires_grad_()
    y = function(x, transfer)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert torch.isfinite(gradient).all()
    assert (gradient > 0).all()
    step = torch.diff(y.detach())
    assert (step > 0).all()
    # No jump: each step is explained by the slopes at its two ends (or by rounding).
    slope = torch.maximum(gradient[1:], gradient[:-1])
    assert (step <= 1.05 * slope * torch.diff(x.detach()) + 1e-6).all()


@pytest.mark.parametrize("transfer", [t for t in TRANSFERS if t != "linear"])
def test_gradcheck(transfer):
    x = torch.tensor([-0.3, 0.02, 0.3, 0.8, 1.2], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: to_linear(v, transfer), x)
    assert torch.autograd.gradcheck(lambda v: from_linear(v, transfer), x)


@pytest.mark.parametrize("transfer", TRANSFERS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_keeps_dtype_and_shape(transfer, dtype):
    x = torch.rand(2, 3, 4, 5).to(dtype)
    y = to_linear(x, transfer)
    assert y.dtype == dtype
    assert y.shape == x.shape
    assert from_linear(y, transfer).dtype == dtype
    torch.testing.assert_close(y.double(), to_linear(x.double(), transfer), atol=4e-3, rtol=1e-2)


def test_unknown_curve_names_the_known_ones():
    with pytest.raises(MediaError, match="bt709"):
        to_linear(torch.zeros(1), "rec-9999")
