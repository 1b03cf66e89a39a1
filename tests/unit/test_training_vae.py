"""The VAE in training form: groups are on their own, both frames of a pair get through, the loss goes down."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from talker.looks import luminance
from talker.sync import correlation, within_latents
from training.train_vae import losses
from training.vae import Vae
from training.vae_clips import FLUTTERS, KINDS, SIDE, SPEAKS, Pool, make_clips, mouths
from training.vae_score import take_statistics


@pytest.fixture(scope="module")
def pool() -> Pool:
    return Pool(8, 3, torch.device("cpu"))


@torch.no_grad()
def test_each_latent_frame_stands_for_its_own_frames():
    torch.manual_seed(0)
    vae = Vae(8)
    x = torch.rand(2, 13, 3, 32, 48) * 2 - 1
    z = vae.encode(x)
    assert z.shape == (2, 16, 4, 4, 6)
    later = torch.cat((x[:, :1], x[:, 5:]), 1)
    assert torch.allclose(vae.encode(later), torch.cat((z[:, :, :1], z[:, :, 2:]), 2), atol=1e-5)
    y = vae.decode(z)
    assert y.shape == x.shape
    assert torch.allclose(vae.decode(z[:, :, :2]), y[:, :5], atol=1e-5)
    with pytest.raises(ValueError, match="4 n"):
        vae.encode(x[:, :4])


@torch.no_grad()
def test_all_four_frames_reach_the_latents_from_the_start():
    torch.manual_seed(0)
    vae = Vae(8)
    x = torch.rand(1, 5, 3, 32, 32) * 2 - 1
    z = vae.encode(x)
    moved = []
    for frame in range(1, 5):
        other = x.clone()
        other[:, frame] *= -1
        moved.append((vae.encode(other) - z)[:, :, 1].square().mean().item())
        assert torch.equal(vae.encode(other)[:, :, 0], z[:, :, 0])
    assert min(moved) > 0.2 * max(moved)
    frames = vae.decode(z + torch.randn_like(z))[0, 1:]
    differences = [(frames[a] - frames[b]).square().mean() for a in range(4) for b in range(a)]
    assert min(differences) > 0.1 * frames.square().mean()


def test_the_loss_goes_down_in_a_few_steps(pool):
    torch.manual_seed(0)
    vae = Vae(8)
    optimizer = torch.optim.AdamW(vae.parameters(), 3e-3)
    pictures, weights = (tensor[:, :, 16:80, 16:80] for tensor in pool.squares(2, 1, mouth=5, eyes=2))
    found = []
    for _ in range(12):
        loss, parts = losses(vae, pictures, weights, 1)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        found.append(loss.item())
        assert parts.isfinite().all()
    assert found[-1] < 0.7 * found[0]


def test_statistics_make_latents_plain(pool):
    vae = Vae(8)
    frames = pool.shelves[0].frames
    take_statistics(vae, frames)
    with torch.no_grad():
        z, _ = vae.to_latents(frames.flatten(0, 1) / 127.5 - 1, 0)
    assert z.mean((0, 2, 3)).abs().max() < 1e-3
    assert (z.std((0, 2, 3)) - 1).abs().max() < 1e-3


def test_squares_weigh_the_open_mouth(pool):
    pictures, weights = pool.squares(groups=30, singles=6, mouth=5, eyes=2)
    assert pictures.shape == (6 + 4 * 30, 3, SIDE, SIDE) and pictures.dtype == torch.uint8
    assert weights.shape == (6 + 4 * 30, 1, SIDE, SIDE)
    assert set(weights[:6].unique().tolist()) <= {2, 4, 10} and set(weights[6:].unique().tolist()) <= {1, 2, 5}
    light = luminance(pictures.permute(0, 2, 3, 1) / 255)
    red = pictures[:, 0].int() - pictures[:, 1].int()
    inside = (light < 0.14) & (red > 25)  # the dark of mouths is reddish, hair and glasses hardly
    heavy = weights[:, 0] >= torch.tensor([10.0] * 6 + [5.0] * 120)[:, None, None]
    assert inside.sum() > 500
    assert (inside & heavy).sum() > 0.9 * inside.sum()
    assert heavy.any((1, 2)).float().mean() > 0.9


def test_new_clips_take_the_place_of_old_ones(pool):
    before = [shelf.frames.clone() for shelf in pool.shelves]
    for _ in range(4):
        pool.refresh()
    changed = [not torch.equal(a, shelf.frames) for a, shelf in zip(before, pool.shelves, strict=True)]
    assert any(changed)


def test_clips_depend_on_their_seed_alone():
    one, same, other = (make_clips(KINDS[3], 2, seed, torch.device("cpu")) for seed in (1, 1, 2))
    assert torch.equal(one.frames, same.frames) and not torch.equal(one.frames, other.frames)
    assert one.frames.shape == (2, 4, 3, 128, 192) and one.mouths.shape == one.eyes.shape == (2, 2, 4, 4)
    assert (one.eyes[..., 3] < one.mouths[..., 3]).all()


def test_mouths_flutter_or_speak():
    generator = torch.Generator().manual_seed(0)
    jumps = []
    for way in (FLUTTERS, SPEAKS):
        opening, width = mouths(50, 1, 81, generator, way)
        assert opening.shape == width.shape == (50, 1, 81)
        assert 0 <= opening.min() and opening.max() <= 1 and 0 <= width.min() and width.max() <= 1
        assert 0.05 < (opening == 0).float().mean() < 0.5
        jumps.append(opening.diff(dim=-1).abs().mean())
    assert jumps[0] > 1.5 * jumps[1]


def test_within_groups_only_their_changes_are_left():
    steps = np.repeat(np.arange(6.0), 4)[3:]  # frame 0, then groups of equal values
    assert np.abs(within_latents(steps)).max() == 0
    wave = steps + np.tile([0, 1, 0, -1], 6)[3:]
    assert correlation(within_latents(wave), np.tile([0, 1, 0, -1], 5)) == pytest.approx(1)
    assert correlation(np.ones(5), np.arange(5.0)) == 0
