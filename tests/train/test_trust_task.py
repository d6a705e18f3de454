"""Learning which changes of a network make a frame better."""

from __future__ import annotations

import pytest
import torch

from unblur.errors import UsageError
from unblur.train import trust_task
from unblur.train.batches import Batch
from unblur.train.recipe import Recipe, load
from unblur.train.tasks import open_task
from unblur.train.trust_task import TrainTrust, change_of_error, restore

CPU = torch.device("cpu")


def test_places_count_alike_however_large_their_error():
    sharp = torch.zeros(1, 3, 16, 32)
    before = torch.cat((torch.full((1, 3, 16, 16), 0.02), torch.full((1, 3, 16, 16), 0.2)), -1)
    found = change_of_error(before, before / 2, sharp)
    assert found.shape == (1, 1, 1, 2)
    assert found[0, 0, 0].tolist() == pytest.approx([-1.386, -1.386], abs=0.1)
    assert change_of_error(before, before, sharp).abs().max() == 0
    assert change_of_error(before / 2, before, sharp).min() > 1


def test_it_learns_to_keep_what_helps_and_to_drop_what_harms(monkeypatch, tmp_path):
    """Half of each frame gets nearer to the truth, the other half gets a pattern that is wrong."""
    task = TrainTrust(Recipe("trust-s", options={"width": 8, "dilations": [1]}), CPU)

    def made(name, batch, frame):
        generator = torch.Generator().manual_seed(int(batch.sharp.sum() * 1000) % 2**31)
        sharp = torch.rand(1, 3, 64, 64, generator=generator)
        frames = sharp * 0.8 + 0.1
        checks = (torch.arange(64)[:, None] + torch.arange(64)) % 2 * 0.2 - 0.1
        wrong = frames + checks
        restored = torch.cat((sharp[..., :32], wrong[..., 32:]), -1)
        return frames, restored, sharp

    monkeypatch.setattr(trust_task, "restore", made)
    torch.manual_seed(0)
    network = task.network()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    for step in range(40):
        batch = Batch(torch.zeros(1, 1, 3, 1, 1), torch.full((1, 1, 3, 1, 1), step / 100))
        optimizer.zero_grad()
        task.loss(network, batch, step).backward()
        optimizer.step()
    frames, restored, _ = made("", batch, 0)
    trust = network(frames, restored - frames)[0, 0]
    assert trust[:, 4:28].mean() > 0.8
    assert trust[:, 36:60].mean() < 0.2
    task.held_out = [made("", batch, 0)]
    metrics = task.validate(network, tmp_path)
    assert metrics["gain"] > 1
    assert (tmp_path / "validation.png").is_file()


@pytest.mark.parametrize("name", ["bsstnet-s", "dabit-s"])
def test_networks_that_ship_give_examples(name):
    x = torch.rand(1, 2, 3, 64, 64, generator=torch.manual_seed(0))
    frames, restored, sharp = restore(name, Batch(x, x.flip(1)), 1)
    assert frames.shape == restored.shape == sharp.shape == (1, 3, 64, 64)
    assert torch.equal(frames, x[:, 1])
    assert torch.equal(sharp, x[:, 0])
    assert not torch.equal(frames, restored)


def test_unknown_networks_are_refused():
    with pytest.raises(UsageError, match="nobody"):
        open_task(Recipe("trust-s", options={"restorers": ["nobody"]}), CPU)
    assert isinstance(open_task(load("trust-s"), CPU), TrainTrust)
