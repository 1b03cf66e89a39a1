"""What a run needs and what a card of a size asks for: the formulas' numbers, and the order of what is given up."""

from __future__ import annotations

from dataclasses import replace

import pytest

from infinitetalk.errors import InputError
from infinitetalk.memory import GIB, Card, Job, MemoryConfig, fit, forward_bytes, tile_bytes, vae_bytes

HOST = MemoryConfig()
BF16 = Job(5120, 640, 640, 81, 9, 3, base=int(30.5 * GIB), adapter=int(4.64 * GIB))
FP8 = replace(BF16, base=int(15.3 * GIB), adapter=int(2.32 * GIB))
Q4 = replace(FP8, base=int(8.6 * GIB))
BIG = {"height": 704, "width": 1280}


def card(gib: float, used: float = 0.0) -> Card:
    reserved = int(0.4 * GIB)
    return Card(int(gib * GIB), reserved, int((gib - used) * GIB) - reserved)


def test_the_hosts_estimates_at_the_published_size():
    # 21 latent frames of 80x80 cells, two bytes, one hundredth of a MiB, 5120/2222.
    assert forward_bytes(5120, 640, 640, 81, 2) / 2**20 == pytest.approx(21 * 80 * 80 * 2 * 0.01 * 5120 / 2222, abs=1)
    assert BF16.forward(81) == forward_bytes(5120, 640, 640, 81, 2)
    assert BF16.forward(41) == pytest.approx(BF16.forward(81) * 11 / 21, rel=1e-6)
    assert vae_bytes(640, 640, 2) == 7000 * 80 * 80 * 64 * 2
    assert tile_bytes(BF16) == 7000 * 384 * 384 * 2 + 2 * 4 * 3 * 81 * 640 * 640


def test_a_large_card_gives_nothing_up():
    found = fit(card(78), BF16)
    assert found.memory == HOST and found.frames == 81
    assert found.reasons == ("everything as ComfyUI does it: 83.3 GB are enough",)


@pytest.mark.parametrize("gib", [24, 16, 12, 8])
@pytest.mark.parametrize("job", [BF16, FP8, Q4])
def test_480p_keeps_its_windows_on_every_card_down_to_8_gb(gib, job):
    found = fit(card(gib), job)
    assert found.frames == 81 and found.memory.branches == "one by one"
    assert found.memory.vae == "auto"  # 5.7 GB can be had when the model gives way


def test_one_branch_is_never_told_to_go_one_by_one():
    assert fit(card(8), replace(Q4, branches=1)).memory.branches == "auto"


def test_the_adapter_stays_in_ram_only_where_the_model_then_fits_whole():
    assert fit(card(22.5), FP8).memory.adapter == "in RAM"
    assert fit(card(22.5), replace(FP8, paged=True)).memory.adapter == "auto"  # the host keeps what fits by itself
    assert fit(card(25), FP8).memory.adapter == "auto"  # both fit
    assert fit(card(16), FP8).memory.adapter == "auto"  # the model is cut anyway: the host decides


def test_the_vae_is_tiled_where_a_whole_window_cannot_be_had():
    found = fit(card(8, used=1.5), Q4)
    assert found.memory.vae == "tiled" and any(reason.startswith("VAE in tiles") for reason in found.reasons)
    assert fit(card(12), replace(Q4, **BIG)).memory.vae == "tiled"


def test_a_window_is_shortened_last_by_the_cards_size_and_not_by_what_is_free():
    job = replace(Q4, **BIG)
    found = fit(card(8), job)
    assert 21 <= found.frames < 81 and (found.frames - 1) % 4 == 0
    assert found.reasons[0].startswith(f"windows of {found.frames} frames instead of 81")
    assert fit(card(8, used=5), job).frames == found.frames
    assert fit(card(8, used=5), Q4).frames == 81
    assert fit(card(24), job).frames == 81


def test_a_short_window_stays_longer_than_its_motion_frames():
    job = replace(Q4, **BIG, frames=81, motion=41)
    assert fit(card(3), job).frames == 45
    assert fit(card(3), replace(job, frames=45)).frames == 45  # nothing shorter makes sense: it is tried as it is


def test_more_memory_never_means_less_speed():
    ranks = []
    for gib in range(4, 80):
        found = fit(card(gib), replace(FP8, **BIG))
        slow = (found.memory.branches != "auto") + (found.memory.vae != "auto")
        ranks.append((found.frames, -slow))
    assert ranks == sorted(ranks)


@pytest.mark.parametrize("given", [{"branches": "two"}, {"vae": ""}, {"adapter": "on disk"}])
def test_unknown_words_are_refused(given):
    with pytest.raises(InputError, match="is unknown"):
        MemoryConfig(**given)


def test_fit_and_settings_by_hand_exclude_each_other():
    with pytest.raises(InputError, match="fit chooses every setting"):
        MemoryConfig(fit=True, vae="tiled")
