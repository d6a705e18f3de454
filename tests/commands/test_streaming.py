"""`restore`, `stream` and `lazy` on frames of a program, with a model loaded once."""

from __future__ import annotations

import dataclasses
import inspect
import itertools
import weakref
from contextlib import closing

import numpy as np
import pytest
import torch
from PIL import Image

import unblur
from unblur.commands.request import DEFAULTS, ArrayOptions, FileOptions
from unblur.commands.streaming import BLOCK
from unblur.errors import UsageError
from unblur.restorers.bsstnet import overlapping_windows
from unblur.restorers.none import Untouched


class Neighbourly(Untouched):
    """Each frame as the mean of itself and its neighbours within the window."""

    info = dataclasses.replace(Untouched.info, name="neighbourly", window=9, passes_through=False)

    def windows(self, length, limit=None):
        return overlapping_windows(length, min(limit or 9, 9))

    def run(self, frames, guidance, outputs):
        near = [frames[max(0, t - 2) : t + 3].mean(0) for t in outputs]
        return torch.stack(near)


class Fused(Neighbourly):
    """And put together with its restored neighbours."""

    info = dataclasses.replace(Neighbourly.info, name="fused", fuse=1)


class Doubling(Untouched):
    """Twice the size."""

    info = dataclasses.replace(Untouched.info, name="doubling", passes_through=False, scale=2)

    def run(self, frames, guidance, outputs):
        return frames[list(outputs)].repeat_interleave(2, -1).repeat_interleave(2, -2)


def film(length=40, cut=17):
    """A clip (T, 24, 32, 3) of two shots in which a texture moves."""
    rng = np.random.default_rng(0)
    textures = rng.integers(0, 256, (2, 6, 30, 3), np.uint8).repeat(4, 1).repeat(4, 2)
    return np.stack([textures[int(t >= cut)][:, t % 80 :][:, :32] for t in range(length)])


KINDS = {
    "arrays": lambda clip: list(clip),
    "16 bits": lambda clip: list(clip.astype(np.uint16) * 257),
    "tensors": lambda clip: list(torch.from_numpy(clip).permute(0, 3, 1, 2) / 255),
    "images": lambda clip: [Image.fromarray(frame) for frame in clip],
}


def same(a, b):
    if isinstance(a, Image.Image):
        return a.tobytes() == b.tobytes()
    return type(a) is type(b) and a.dtype == b.dtype and bool((a == b).all())


@pytest.mark.parametrize("kind", KINDS)
def test_a_stream_equals_the_clip_at_once(kind):
    frames = KINDS[kind](film())
    model = Neighbourly()
    whole = unblur.restore(frames, model=model)
    assert isinstance(whole, list)
    assert not all(same(a, b) for a, b in zip(whole, frames, strict=True))
    streamed = list(unblur.stream(iter(frames), model=model))
    assert len(streamed) == len(whole)
    assert all(same(a, b) for a, b in zip(streamed, whole, strict=True))


def test_frames_sought_in_any_order_are_the_same():
    frames = film(60, 29)
    order = np.random.default_rng(1).permutation(60).tolist()
    ahead, back = (unblur.lazy(frames, model=Neighbourly()) for _ in range(2))
    sought = {n: back[n] for n in order}
    assert all(np.array_equal(ahead[n], sought[n]) for n in sorted(order))


def test_frames_sought_are_those_of_the_clip_at_once():
    frames = film(60, 29)
    model = Neighbourly()
    found = unblur.lazy(frames, model=model)
    assert len(found) == 60
    whole = unblur.restore(frames, model=model)
    assert np.array_equal(np.stack(found[:]), whole)
    assert np.array_equal(found[-1], whole[-1])
    with pytest.raises(IndexError):
        found[60]


def test_frames_sought_are_read_near_by_and_kept_for_a_while():
    frames = film(200, 100)
    read = []

    class Noting:
        def __len__(self):
            return len(frames)

        def __getitem__(self, n):
            read.append(n)
            return frames[n]

    found = unblur.lazy(Noting(), model=Neighbourly())
    found[5 * BLOCK + 3]
    assert 5 * BLOCK - 20 < min(read[1:]) <= max(read) < 6 * BLOCK + 20
    count = len(read)
    found[5 * BLOCK]
    assert len(read) == count


def test_what_is_fused_streams_and_is_sought_as_at_once():
    frames = film(BLOCK + 4, 6)
    whole = unblur.restore(frames, model=Fused())
    assert not np.array_equal(whole, unblur.restore(frames, model=Neighbourly()))
    assert np.array_equal(np.stack(list(unblur.stream(frames, model=Fused()))), whole)
    sought = unblur.lazy(frames, model=Fused())
    for n in (BLOCK - 1, BLOCK, 5, 6):
        assert np.array_equal(sought[n], whole[n])


@pytest.mark.slow
def test_networks_stream_and_are_sought_as_they_restore():
    frames = film(24, 13)
    model = unblur.load_model("motion-s", precision="fp32")
    whole = unblur.restore(frames, model=model)
    assert np.array_equal(np.stack(list(unblur.stream(frames, model=model))), whole)
    assert float(np.abs(whole.astype(int) - frames).max()) > 3
    sought = np.stack(unblur.lazy(frames, model=model)[:]).astype(int)
    assert np.abs(sought - whole).max() <= 1  # windows begin elsewhere: sums in another order


def test_a_stream_holds_few_frames_and_lets_them_go():
    """An endless source, of whose frames only those in work are alive."""
    alive = 0

    def gone():
        nonlocal alive
        alive -= 1

    def endless():
        nonlocal alive
        for number in itertools.count():
            frame = np.full((4, 6, 3), number % 200, np.uint8)
            alive += 1
            weakref.finalize(frame, gone)
            yield frame

    most = []
    with closing(unblur.stream(endless(), model=Neighbourly())) as sharp:
        for _ in itertools.islice(sharp, 120):
            most.append(alive)
    assert max(most[60:]) <= max(most[:60]) <= 40


def test_closing_a_stream_ends_it():
    taken = []

    def source():
        for n in range(1000):
            taken.append(n)
            yield np.full((4, 6, 3), n % 250, np.uint8)

    given = source()
    sharp = unblur.stream(given, model=Neighbourly())
    assert not taken  # nothing is read before the first frame is wanted
    next(sharp)
    count = len(taken)
    sharp.close()
    assert next(sharp, None) is None
    assert len(taken) == count
    assert next(given)[0, 0, 0] == count  # what it reads from is left as it was


def test_a_stream_of_nothing_is_nothing():
    assert list(unblur.stream(iter([]), model="none")) == []


def test_a_stream_says_which_frame_does_not_fit():
    frames = [np.zeros((4, 6, 3), np.uint8)] * 3 + [np.zeros((4, 7, 3), np.uint8)]
    with pytest.raises(UsageError, match=r"frame 3 is an array \(4, 7, 3\)"):
        list(unblur.stream(frames, model="none"))


def test_a_batch_is_its_clips():
    clips = torch.rand(2, 11, 3, 8, 12, generator=torch.Generator().manual_seed(0))
    model = Neighbourly()
    together = unblur.restore(clips, model=model)
    assert together.shape == clips.shape
    for clip, restored in zip(clips, together, strict=True):
        assert torch.equal(unblur.restore(clip, model=model), restored)


@pytest.mark.parametrize("kind", KINDS)
def test_twice_the_size(kind):
    frames = KINDS[kind](film(3))
    large = unblur.restore(frames, model=Doubling())
    if kind == "images":
        assert [image.size for image in large] == [(64, 48)] * 3
    elif kind == "tensors":
        assert large[0].shape == (3, 48, 64)
    else:
        assert large[0].shape == (48, 64, 3)
        assert np.array_equal(large[0][::2, ::2], frames[0])


def test_gradients_end_here():
    frames = torch.rand(1, 3, 8, 8, requires_grad=True)
    model = unblur.load_model("maxim-stage1")
    for restored in (
        unblur.restore(frames, model=model),
        next(unblur.stream(frames, model=model)),
        unblur.lazy(frames, model=model)[0],
    ):
        assert not restored.requires_grad
        assert not restored.is_inference()
        weight = torch.ones((), requires_grad=True)
        (weight * restored).sum().backward()  # what comes back may be used in training
        assert weight.grad is not None
    assert frames.grad is None


def test_a_model_is_loaded_once(monkeypatch):
    model = unblur.load_model("maxim-stage1", precision="fp32")
    frame = np.random.default_rng(0).integers(0, 256, (9, 7, 3), np.uint8)
    monkeypatch.setattr(
        "unblur.commands.request.load_model", lambda *_, **__: pytest.fail("loaded again")
    )
    assert unblur.restore(frame, model=model).shape == frame.shape


def test_files_take_a_loaded_model_and_seconds(tmp_path):
    film_ = film(9)
    for number, frame in enumerate(film_):
        Image.fromarray(frame).save(tmp_path / f"{number:03}.png")
    out = tmp_path / "out" / "%03d.png"
    out.parent.mkdir()
    report = unblur.restore(tmp_path / "%03d.png", out, model=Neighbourly(), start=2 / 25, end=0.24)
    assert (report.model, report.frames) == ("neighbourly", 4)
    cut = unblur.restore(film_[2:6], model=Neighbourly())
    assert np.array_equal(np.asarray(Image.open(sorted(out.parent.iterdir())[0])), cut[0])


def test_light_of_frames_can_be_told():
    light = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2
    kept = unblur.restore(light, model="none", transfer="linear")
    torch.testing.assert_close(kept, light)


WRONG = [
    ({"model": 3}, "model 3: takes a name"),
    ({"strength": "high"}, "strength 'high': takes a number"),
    ({"strength": None}, "strength None"),
    ({"window": 2.5}, "window 2.5: takes a whole number"),
    ({"tile": True}, "tile True"),
    ({"fuse": 1.5}, "fuse 1.5: takes 'auto'"),
    ({"seed": "x"}, "seed 'x'"),
    ({"device": 0}, "device 0: takes a name"),
    ({"quality": 1}, "quality 1: takes a word"),
    ({"depth_invert": "no"}, "True or False"),
    ({"weights": 5}, "weights 5: takes a path"),
    ({"progress": "bar"}, "progress 'bar': takes a function"),
    ({"transfer": "gamma"}, "transfer 'gamma' is not known"),
    ({"depth": "maps/", "model": "focus-s"}, "frames take builtin or depth-anything"),
]


@pytest.mark.parametrize(("options", "message"), WRONG)
def test_wrong_options_are_named(options, message):
    frames = np.zeros((2, 8, 8, 3), np.uint8)
    for work in (unblur.restore, unblur.stream, unblur.lazy):
        with pytest.raises(UsageError, match=message):
            work(frames, **options)


@pytest.mark.parametrize(
    "option", [{"overwrite": True}, {"codec": "ffv1"}, {"start": 1.0}, {"crf": 3}, {"stream": 1}]
)
def test_options_of_files_are_not_for_frames(option):
    frames = np.zeros((2, 8, 8, 3), np.uint8)
    with pytest.raises(UsageError, match="is for files"):
        unblur.restore(frames, model="none", **option)
    with pytest.raises(TypeError, match="unexpected keyword"):
        unblur.stream(frames, model="none", **option)


@pytest.mark.parametrize(
    "option",
    [{"device": "cpu"}, {"precision": "fp32"}, {"scale": 1}, {"quality": "fast"}, {"weights": "w"}],
)
def test_what_is_loaded_takes_no_options_of_loading(option):
    with pytest.raises(UsageError, match=r"is loaded already.*unblur.load_model"):
        unblur.restore(np.zeros((8, 8, 3), np.uint8), model=Neighbourly(), **option)


def test_other_wrong_arguments(tmp_path):
    frames = np.zeros((8, 8, 3), np.uint8)
    with pytest.raises(UsageError, match="come back by themselves"):
        unblur.restore(frames, tmp_path / "out.mp4")
    with pytest.raises(UsageError, match="files say it themselves"):
        unblur.restore("in.mp4", "out.mp4", transfer="linear")
    with pytest.raises(UsageError, match="-1 is not a time"):
        unblur.restore("in.mp4", "out.mp4", start=-1)
    for work in (unblur.stream, unblur.lazy):
        for wrong in ("in.mp4", 5):
            with pytest.raises(UsageError, match="takes frames"):
                work(wrong)
        with pytest.raises(UsageError, match="whole shots"):
            work([frames], model="atlas")
        with pytest.raises(TypeError, match="'modle'"):
            work([frames], modle="none")


def test_models_are_loaded_by_name_onto_a_device():
    assert unblur.load_model("none", device=torch.device("cpu")).info.name == "none"
    for wrong in (3, None, ["motion-s"]):
        with pytest.raises(UsageError, match="takes a name of"):
            unblur.load_model(wrong)


def test_types_and_defaults_are_those_of_the_function():
    """A type checker sees the TypedDicts, `help` and the interpreter the signature."""
    signature = inspect.signature(unblur.restore).parameters
    own = {n: p for n, p in signature.items() if p.kind is p.KEYWORD_ONLY}
    typed = {**ArrayOptions.__annotations__, **FileOptions.__annotations__}
    assert own.keys() == typed.keys()
    for name, parameter in own.items():
        assert parameter.default == DEFAULTS.get(name), name
        assert parameter.annotation == typed[name].__forward_arg__, name
