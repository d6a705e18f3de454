"""Frames in NumPy, PyTorch and Pillow go in and come out as they are, or are refused by name."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as drawn
from PIL import Image

from unblur.commands.arrays import Given, taken_apart
from unblur.errors import UnblurWarning, UsageError

KINDS = ["uint8", "uint16", ">u2", "float16", "float32", ">f4", "float64"]
TENSORS = [torch.uint8, torch.uint16, torch.float16, torch.bfloat16, torch.float32, torch.float64]


def there_and_back(source):
    apart = taken_apart(source)
    return apart.whole([[given.like(given.rgb()) for given in clip] for clip in apart.clips])


@st.composite
def arrays(draw):
    """Images and clips of every kind of number, views among them."""
    kind = np.dtype(draw(st.sampled_from(KINDS)))
    shape = (*draw(st.sampled_from([(), (1,), (3,)])), draw(st.integers(1, 4)), 3, 3)
    width = 16 if kind.newbyteorder("=") == np.float16 else 32
    values = st.floats(0, 1, width=width) if kind.kind == "f" else None
    found = draw(drawn.arrays(kind, shape, elements=values))
    return found[..., ::-1] if draw(st.booleans()) else found


@settings(deadline=None)
@given(arrays())
@pytest.mark.filterwarnings("ignore:16-bit samples")
def test_arrays_come_back_exactly_when_nothing_is_done(array):
    back = there_and_back(array)
    assert back.dtype == array.dtype
    assert back.shape == array.shape
    assert np.array_equal(back, array)
    assert not np.shares_memory(back, array)


@pytest.mark.parametrize("kind", TENSORS)
@pytest.mark.parametrize("shape", [(2, 3, 5, 4), (2, 2, 3, 5, 4)])
def test_tensors_come_back_exactly_when_nothing_is_done(kind, shape):
    whole = {torch.uint8: 255, torch.uint16: 65535}.get(kind, 1)
    values = torch.rand(shape, generator=torch.Generator().manual_seed(0)) * whole
    tensor = values.to(torch.int32).to(kind) if whole > 1 else values.to(kind)
    back = there_and_back(tensor)
    assert back.dtype == kind
    assert torch.equal(back.to(torch.float64), tensor.to(torch.float64))


def test_pillow_images_come_back_with_what_is_said_of_them():
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8))
    image.info["icc_profile"] = b"profile"
    back = there_and_back(image)
    assert isinstance(back, Image.Image)
    assert back.tobytes() == image.tobytes()
    assert back.info["icc_profile"] == b"profile"


@pytest.mark.parametrize("kind", [list, tuple])
def test_lists_come_back_as_lists(kind):
    frames = kind(np.full((2, 4, 3), n, np.uint8) for n in range(3))
    back = there_and_back(frames)
    assert type(back) is kind
    assert all(np.array_equal(a, b) for a, b in zip(back, frames, strict=True))


@given(st.sampled_from(["uint8", "uint16", "float32"]), st.floats(0, 1, width=32))
def test_a_value_means_the_same_in_each_kind(kind, value):
    whole = {"uint8": 255, "uint16": 65535, "float32": 1}[kind]
    rgb = torch.full((3, 1, 2), value)
    as_array = Given(np.zeros((1, 2, 3), kind)).like(rgb)
    as_tensor = Given(torch.zeros(3, 1, 2, dtype=getattr(torch, kind))).like(rgb)
    assert abs(float(as_array[0, 0, 0]) / whole - value) <= 0.5 / whole + 1e-6
    assert float(as_array[0, 0, 0]) == float(as_tensor[0, 0, 0])
    assert torch.allclose(Given(as_array).rgb(), Given(as_tensor).rgb())


def test_channels_are_where_they_belong():
    array = np.zeros((2, 5, 3), np.uint8)
    array[0, 3] = 255, 51, 0
    rgb = Given(array).rgb()
    assert rgb.shape == (3, 2, 5)
    assert rgb[:, 0, 3].tolist() == [1.0, pytest.approx(0.2), 0.0]


def test_whole_numbers_are_clipped_and_floats_are_not():
    rgb = torch.tensor([-0.2, 0.5, 1.2]).reshape(3, 1, 1)
    assert Given(np.zeros((1, 1, 3), np.uint8)).like(rgb).tolist() == [[[0, 128, 255]]]
    floats = Given(np.zeros((1, 1, 3), np.float32)).like(rgb)
    assert floats.flatten().tolist() == pytest.approx([-0.2, 0.5, 1.2])


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (np.zeros((4, 4)), r"np.stack\(\[array\] \* 3"),
        (np.zeros((4, 4, 1), np.uint8), "np.repeat"),
        (np.zeros((4, 4, 4), np.uint8), r"alpha out, array\[..., :3\]"),
        (np.zeros((3, 4, 5), np.uint8), "np.moveaxis"),
        (np.zeros((2, 3, 4, 5), np.uint8), "np.moveaxis"),
        (np.zeros((1, 2, 4, 5, 3), np.uint8), r"a clip \(T, H, W, 3\)"),
        (np.zeros((0, 4, 5, 3), np.uint8), r"is \(0, 4, 5, 3\)"),
        (np.zeros((4, 4, 3), np.int64), "int64: give uint8, uint16"),
        (np.zeros((4, 4, 3), bool), "bool"),
        (np.full((4, 4, 3), 255.0), "divide by 255"),
        (np.full((4, 4, 3), 65535.0), "divide by 65535"),
        (np.full((4, 4, 3), -0.9), r"\(x \+ 1\) / 2"),
        (np.full((4, 4, 3), np.nan), "NaN"),
        (np.ma.masked_array(np.zeros((4, 4, 3))), "masked"),
        (torch.zeros(3, 4, 4), r"tensor\[None\]"),
        (torch.zeros(2, 4, 4, 3), "movedim"),
        (torch.zeros(2, 4, 4, 4), "alpha"),
        (torch.zeros(2, 3, 4, 4, dtype=torch.int64), "int64"),
        (torch.full((2, 3, 4, 4), 200.0), "divide by 255"),
        (torch.full((2, 3, 4, 4), float("inf")), "infinity"),
        (torch.zeros(2, 3, 4, 4).to_sparse(), "to_dense"),
        (torch.zeros(2, 3, 4, 4, device="meta"), "the tensor is meta"),
        (torch.nested.nested_tensor([torch.zeros(2, 3, 4, 4)] * 2), "the tensor is nested"),
        ([torch.zeros(3, 4, 4).to_sparse()], "frame 0 is sparse"),
        ([], "an empty list"),
        (["a.png", "b.png"], "a folder of images is named by its path"),
        ([np.zeros((4, 4, 3), np.uint8), np.zeros((4, 5, 3), np.uint8)], "frame 1 is an array"),
        ([np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4, 3), np.float32)], "float32 and frame 0"),
        ([np.zeros((4, 4, 3), np.uint8), torch.zeros(3, 4, 4)], "frame 1 is a tensor"),
        ([torch.zeros(4, 4, 3)], r"frame 0 is a tensor \(4, 4, 3\)"),
        (Image.new("RGBA", (4, 4)), "mode RGBA: give image.convert"),
        (Image.new("RGB", (0, 4)), "0x4: it is empty"),
        (7, "cannot restore a builtins.int"),
        ({"frames": 1}, "a file is named by its path"),
    ],
)
def test_what_is_no_frames_is_refused_with_a_remedy(source, message):
    with pytest.raises(UsageError, match=message):
        taken_apart(source)


def test_light_may_be_brighter_than_white():
    light = np.full((2, 2, 3), 40.0, np.float32)
    apart = taken_apart(light, unbounded=True)
    assert float(apart.clips[0][0].rgb().max()) == 40


@pytest.mark.parametrize("source", [np.full((2, 2, 3), 1000, np.uint16)])
def test_ten_bit_samples_in_sixteen_bits_are_noticed(source):
    with pytest.warns(UnblurWarning, match="multiply by 64"):
        taken_apart(source)
    with pytest.warns(UnblurWarning, match="multiply by 64"):
        taken_apart(torch.from_numpy(source[None]).permute(0, 3, 1, 2))
