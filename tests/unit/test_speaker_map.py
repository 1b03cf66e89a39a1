"""The map and the positions: what the recorded cases do not reach."""

from __future__ import annotations

import pytest
import torch

from infinitetalk.model.speaker_map import (
    BACKGROUND,
    RANGE,
    SPACING,
    key_positions,
    query_positions,
    rotate,
    speaker_map,
)

FRAMES, TOKENS = 3, 12


def attention(q, k, v, heads):
    q, k, v = (part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in (q, k, v))
    return torch.nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


def inputs(heads: int = 4, batch: int = 2, dtype=torch.float32):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, batch, FRAMES * TOKENS, heads, 128, generator=generator).to(dtype)


def classes(voices: int, batch: int = 2) -> torch.Tensor:
    """Equal parts of the tokens, the last one the background."""
    return torch.eye(voices + 1).repeat_interleave(TOKENS // (voices + 1), dim=1).expand(batch, -1, -1)


def written_out(q, k, masks):
    """The query-key matrix in full, in float64."""
    weights = torch.einsum("blhd,bshd->bhls", q.double(), k[:, :TOKENS].double()) / 128**0.5
    inside = torch.einsum("bhls,bcs->bhcl", weights.softmax(-1), masks.double()).mean(1)
    return inside / masks.sum(-1)[..., None]


@pytest.mark.parametrize("voices", [1, 2, 3, 5])
def test_the_map_is_the_mean_share_of_each_region(voices):
    q, k = inputs()
    shares = speaker_map(q, k, classes(voices), attention)
    assert shares.dtype == torch.float32
    assert (shares - written_out(q, k, classes(voices))).abs().max() < 1e-6


def test_each_of_a_batch_has_its_own_map():
    q, k = inputs()
    both = speaker_map(q, k, classes(2), attention)
    for n in range(2):
        assert (speaker_map(q[n : n + 1], k[n : n + 1], classes(2, 1), attention)[0] - both[n]).abs().max() < 1e-7


def test_one_head_is_used_and_an_odd_last_one_is_not():
    q, k = inputs(heads=3)
    assert torch.equal(
        speaker_map(q, k, classes(2), attention), speaker_map(q[:, :, :2], k[:, :, :2], classes(2), attention)
    )
    alone = q[:, :, :1], k[:, :, :1]
    assert (speaker_map(*alone, classes(2), attention) - written_out(*alone, classes(2))).abs().max() < 1e-6


def test_half_precision_rounds_the_map_and_nothing_more():
    q, k = inputs(dtype=torch.bfloat16)
    exact = written_out(q, k, classes(2))
    assert ((speaker_map(q, k, classes(2).bfloat16(), attention) - exact) / exact).abs().max() < 0.01


def test_positions_of_every_class():
    shares = torch.tensor([[[0.9, 0.1, 0.0, 0.1, 0.5], [0.1, 0.6, 0.0, 0.2, 0.0], [0.0, 0.0, 0.5, 0.3, 0.0]]])
    positions = query_positions(shares, torch.ones(1, 3, dtype=torch.bool))[0]
    wanted = [RANGE, SPACING + RANGE, BACKGROUND, BACKGROUND, RANGE * 0.5 / 0.9]
    assert positions.tolist() == pytest.approx(wanted, abs=1e-5)


@pytest.mark.parametrize("voices", [2, 3, 4, 8])
def test_ranges_are_even_and_far_from_the_background(voices):
    keys = key_positions(voices, 32)
    assert keys.shape == (voices * 32,) and keys[::32].tolist() == [20.0 * n + 2 for n in range(voices)]
    ranges = [(20.0 * n, 20.0 * n + RANGE) for n in range(voices)]
    assert min(abs(edge - BACKGROUND) for span in ranges for edge in span) == 8


def test_an_empty_background_wins_nothing():
    q, k = inputs()
    masks = torch.stack((classes(1)[:, 0], classes(1)[:, 1], torch.zeros(2, TOKENS)), dim=1)
    shares = speaker_map(q, k, masks, attention)
    positions = query_positions(shares, masks.any(dim=2))
    assert torch.isfinite(shares).all() and torch.isfinite(positions).all()
    assert not (positions == BACKGROUND).any()


def test_equal_shares_everywhere_give_finite_positions():
    positions = query_positions(torch.zeros(1, 3, 5), torch.ones(1, 3, dtype=torch.bool))
    assert positions.tolist() == [[0.0] * 5]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rotation_keeps_lengths_and_only_distance_matters(dtype):
    q, k = inputs(dtype=dtype)
    assert torch.equal(rotate(q, torch.zeros(q.shape[:2])), q)
    tolerance = 1e-4 if dtype == torch.float32 else 0.5
    scores = []
    for base in (0.0, 7.5):
        one, other = rotate(q, torch.full(q.shape[:2], base + 3.0)), rotate(k, torch.full(k.shape[:2], base))
        assert one.dtype == dtype
        scores.append((one.double() * other.double()).sum(-1))
    assert (scores[0] - scores[1]).abs().max() < tolerance
