"""What the training scripts share: budgets, averaged weights, checkpoints in files of limited size."""

from __future__ import annotations

import time

import pytest
import torch

from training.checkpoint import (
    Ema,
    Progress,
    Workers,
    average_gradients,
    cosine,
    load,
    load_optimizer,
    mean_over,
    optimizer_tensors,
    prefixed,
    save,
    under,
)

ALONE = Workers(0, 1, torch.device("cpu"))


def train(model: torch.nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> None:
    for step in range(steps):
        x = torch.randn(4, 3, generator=torch.Generator().manual_seed(step))
        model(x).square().mean().backward()
        average_gradients(ALONE, model.parameters())
        optimizer.step()
        optimizer.zero_grad()


def test_steps_are_a_total_and_seconds_begin_anew():
    progress = Progress(ALONE, steps=5)
    progress.resume(3)
    shares = []
    while progress.goes_on():
        shares.append(progress.share)
        progress.advance()
    assert shares == [0.6, 0.8] and progress.step == 5

    progress = Progress(ALONE, seconds=0.2, every=2)
    progress.resume(1000)
    while progress.goes_on():
        time.sleep(0.01)
        progress.advance()
    assert 1002 < progress.step < 1030
    with pytest.raises(ValueError, match="either"):
        Progress(ALONE, seconds=1, steps=1)


def test_the_rate_rises_then_falls():
    assert cosine(0, 0, warm=100) == pytest.approx(0.01)
    assert cosine(0, 99, warm=100) == pytest.approx(1)
    assert cosine(0.5, 5000, floor=0) == pytest.approx(0.5)
    assert cosine(1, 10_000, floor=0.02) == pytest.approx(0.02)


def test_the_mean_follows_and_is_lent_to_the_model():
    model = torch.nn.Linear(3, 3)
    ema = Ema(model, 0.9)
    first = model.weight.detach().clone()
    with torch.no_grad():
        model.weight += 1
    ema.update(model)
    with ema.used_by(model):
        lent = model.weight.detach().clone()
    decay = 2 / 11  # of the first update
    assert torch.allclose(lent, first + (1 - decay), atol=1e-6)
    assert torch.allclose(model.weight, first + 1)
    other = Ema(torch.nn.Linear(3, 3), 0.9)
    other.load_state_dict(ema.state_dict(), ema.updates)
    assert torch.equal(other.state_dict()["weight"], lent) and other.updates == 1


def test_a_resumed_training_equals_an_uninterrupted_one(tmp_path):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    train(model, optimizer, 3)
    tensors = prefixed("model.", model.state_dict()) | prefixed("optimizer.", optimizer_tensors(optimizer))
    files = save(tmp_path / "state.safetensors", tensors, {"step": 3}, most=200)
    assert len(files) > 2 and sorted(tmp_path.iterdir()) == sorted(files)
    train(model, optimizer, 3)

    again = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
    tensors, facts = load(files[0])
    again.load_state_dict(under("model.", tensors))
    optimizer = torch.optim.AdamW(again.parameters(), 1e-2)
    load_optimizer(optimizer, under("optimizer.", tensors))
    train(again, optimizer, 3)
    assert facts == {"step": 3}
    for a, b in zip(model.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)


def test_files_of_different_moments_are_refused(tmp_path):
    path = tmp_path / "state.safetensors"
    tensors = {"a": torch.zeros(100), "b": torch.zeros(100)}
    kept = save(path, tensors, {"step": 1}, most=400)[1].read_bytes()
    files = save(path, tensors, {"step": 2}, most=400)
    files[1].write_bytes(kept)
    with pytest.raises(ValueError, match="another moment"):
        load(path)


def test_one_worker_is_its_own_mean():
    assert mean_over(ALONE, torch.tensor(3.0)) == 3


def test_moments_get_the_memory_format_of_their_parameters(tmp_path):
    made = []
    for _ in range(2):
        conv = torch.nn.Conv2d(4, 6, 3).to(memory_format=torch.channels_last)
        made.append((conv, torch.optim.AdamW(conv.parameters())))
    (conv, first), (other, second) = made
    conv(torch.ones(1, 4, 5, 5)).square().mean().backward()
    first.step()
    save(tmp_path / "state.safetensors", optimizer_tensors(first), {})
    load_optimizer(second, load(tmp_path / "state.safetensors")[0])
    for name in ("exp_avg", "exp_avg_sq"):
        moment = second.state[other.weight][name]
        assert moment.stride() == other.weight.stride() and torch.equal(moment, first.state[conv.weight][name])
