"""Muon in batches does what torch's does."""

from __future__ import annotations

import copy

import torch
from torch import nn

from training.checkpoint import load_optimizer, optimizer_tensors
from training.muon import Muon


def layers() -> nn.ModuleList:
    torch.manual_seed(0)
    return nn.ModuleList(nn.Linear(*shape, bias=False) for shape in ((32, 32), (32, 32), (64, 32), (32, 64), (8, 32)))


def teach(net: nn.ModuleList, optimizer: torch.optim.Optimizer, steps: range) -> None:
    for step in steps:
        generator = torch.Generator().manual_seed(step)
        for layer in net:
            layer.weight.grad = torch.randn(layer.weight.shape, generator=generator)
        optimizer.step()


def test_steps_are_those_of_torch():
    ours, theirs = layers(), layers()
    before = copy.deepcopy(theirs)
    teach(ours, Muon(list(ours.parameters()), 0.01, 0.1), range(5))
    others = torch.optim.Muon(theirs.parameters(), 0.01, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    teach(theirs, others, range(5))
    for our, their, old in zip(ours.parameters(), theirs.parameters(), before.parameters(), strict=True):
        moved = (their - old).norm()
        assert moved > 0 and (our - their).norm() < 0.01 * moved


def test_it_goes_on_from_its_kept_state():
    whole, parts = layers(), layers()
    teach(whole, Muon(list(whole.parameters()), 0.01, 0.1), range(4))
    first = Muon(list(parts.parameters()), 0.01, 0.1)
    teach(parts, first, range(2))
    second = Muon(list(parts.parameters()), 0.01, 0.1)
    load_optimizer(second, optimizer_tensors(first))
    teach(parts, second, range(2, 4))
    for one, other in zip(whole.parameters(), parts.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_matrix_without_a_gradient_stays():
    net = layers()
    optimizer = Muon(list(net.parameters()), 0.01, 0.1)
    net[0].weight.grad = torch.ones_like(net[0].weight)
    before = [parameter.detach().clone() for parameter in net.parameters()]
    optimizer.step()
    same = [torch.equal(now, then) for now, then in zip(net.parameters(), before, strict=True)]
    assert same == [False, True, True, True, True]
