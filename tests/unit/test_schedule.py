"""The noise schedule against its formula."""

from __future__ import annotations

import pytest
import torch

from infinitetalk.errors import InputError
from infinitetalk.schedule import flow_sigmas


@pytest.mark.parametrize("steps", [1, 2, 4, 40, 1000])
@pytest.mark.parametrize("shift", [0.5, 1, 3, 7, 11.0])
def test_sigmas_fall_from_one_to_zero(steps, shift):
    sigmas = flow_sigmas(steps, shift)
    assert sigmas.dtype == torch.float32 and sigmas.shape == (steps + 1,)
    assert sigmas[0] == 1 and sigmas[-1] == 0
    assert (sigmas.diff() < 0).all()


def test_a_shift_of_one_is_the_straight_line_and_others_follow_the_formula():
    assert torch.allclose(flow_sigmas(3, 1) * 1000, torch.tensor([1000.0, 500.5, 1.0, 0.0]), atol=1e-4)
    # 7*x / (1 + 6*x) at x = 0.5005: 3.5035 / 4.003
    assert flow_sigmas(3, 7)[1].item() == pytest.approx(3.5035 / 4.003, abs=1e-6)


@pytest.mark.parametrize("steps", [0, -1, 1001, 4.0, True])
def test_unusable_steps_are_refused(steps):
    with pytest.raises(InputError, match="steps: "):
        flow_sigmas(steps, 7)


@pytest.mark.parametrize("shift", [0, -1.0, float("nan"), float("inf")])
def test_unusable_shifts_are_refused(shift):
    with pytest.raises(InputError, match="shift: "):
        flow_sigmas(4, shift)
