"""Which takes a run needs: first ones, redone ones, and what a redo does to the windows after it."""

from __future__ import annotations

import pytest

from infinitetalk.config import WindowConfig
from infinitetalk.errors import InputError
from infinitetalk.takes import FIRST, Overrides, Redo, first_takes, plan_takes, to_sample
from infinitetalk.timeline import plan

WINDOWS = plan(100, WindowConfig(9, 5), seed=10)  # 24 windows of 4 new frames
SEED = Overrides(seed=77)


def digest(overrides):
    return f"seed {overrides.seed}"


def takes(*redos, windows=WINDOWS):
    first = first_takes(windows)
    return first, plan_takes(first, redos, digest)


def keys(chosen):
    return [take.key for take in chosen]


def test_first_takes_follow_each_other():
    first, chosen = takes()
    assert keys(chosen) == [FIRST] * len(WINDOWS)
    assert first[0].source is None and all(
        after.source is before for before, after in zip(first, first[1:], strict=False)
    )
    assert [take.hand_on for take in first] == [5] * (len(first) - 1) + [0]
    assert [take.seed for take in first] == [10 + n for n in range(len(first))]


@pytest.mark.parametrize("following", ["keep", "blend", "resample"])
def test_a_redo_changes_its_window_and_what_was_chosen_for_the_later_ones(following):
    first, chosen = takes(Redo(7, SEED, following))
    assert keys(chosen)[:6] == [FIRST] * 6 and chosen[6].key != FIRST
    assert chosen[6].seed == 77 and chosen[6].source is first[5]
    later = keys(chosen)[7:]
    if following == "resample":
        assert FIRST not in later and len(set(later)) == len(later)
        assert all(after.source is before for before, after in zip(chosen[6:], chosen[7:], strict=False))
        assert chosen[7].seed == first[7].seed
    else:
        assert set(later) == {FIRST}
    assert chosen[6].blend is (first[6] if following == "blend" else None)


def test_only_what_is_missing_is_sampled():
    first, chosen = takes(Redo(7, SEED, "blend"))
    finished = set(first)
    assert to_sample(chosen, lambda take: take in finished) == [chosen[6]]
    assert to_sample(chosen, lambda take: True) == []
    everything = to_sample(chosen, lambda take: False)
    assert everything == [*first[:7], chosen[6], *first[7:]]  # what a take needs comes before it
    gone = to_sample(chosen, lambda take: take in finished - {first[2]})
    assert gone == [first[2], chosen[6]]  # a damaged window in the middle is made again, its followers stay


def test_a_kept_follower_that_was_never_made_needs_the_first_take_of_the_redone_window():
    first, chosen = takes(Redo(7, SEED, "keep"))
    done = set(first[:6])
    assert to_sample(chosen, lambda take: take in done)[:3] == [first[6], chosen[6], first[7]]


def test_the_same_wish_is_the_same_take_and_another_is_another():
    _, one = takes(Redo(7, SEED, "keep"))
    _, again = takes(Redo(7, SEED, "keep"))
    _, other = takes(Redo(7, Overrides(seed=78), "keep"))
    _, blended = takes(Redo(7, SEED, "blend"))
    assert one[6].key == again[6].key
    assert len({one[6].key, other[6].key, blended[6].key}) == 3


def test_a_redo_after_a_redo_continues_it():
    first, chosen = takes(Redo(7, SEED, "blend"), Redo(8, SEED, "keep"))
    assert chosen[7].source is chosen[6] and chosen[6].blend is None
    assert keys(chosen)[8:] == [FIRST] * (len(first) - 8)


def test_resampling_ends_at_a_scene():
    windows = plan(100, WindowConfig(9, 5), cuts=(50,))
    cut = next(window.index for window in windows[1:] if not window.motion)
    first, chosen = takes(Redo(3, SEED, "resample"), windows=windows)
    assert all(take.key != FIRST for take in chosen[2:cut]) and keys(chosen)[cut:] == [FIRST] * (len(first) - cut)
    assert first[cut - 1].hand_on == 0 and first[cut].scene is windows[cut]


def test_the_last_window_and_the_last_before_a_scene_need_no_blending():
    _, chosen = takes(Redo(len(WINDOWS), SEED, "blend"))
    assert chosen[-1].blend is None and chosen[-1].key != FIRST


@pytest.mark.parametrize(
    ("redos", "problem"),
    [
        ([Redo(25, SEED)], "window 25 does not exist, the run has 24"),
        ([Redo(0, SEED)], "window 0 does not exist"),
        ([Redo(7, SEED), Redo(7, SEED)], "redone twice"),
    ],
)
def test_bad_redos(redos, problem):
    with pytest.raises(InputError, match=problem):
        takes(*redos)


def test_unknown_following_and_seed():
    with pytest.raises(InputError, match="'mix' is unknown"):
        Redo(1, SEED, "mix")
    with pytest.raises(InputError, match="seed: -1"):
        Overrides(seed=-1)


def test_a_redo_goes_over_a_tables_row():
    row = Overrides(seed=1, text_scale=3.0)
    assert SEED.over(row) == Overrides(seed=77, text_scale=3.0)
    first = first_takes(WINDOWS, lambda window: row if window.index == 6 else Overrides())
    assert first[6].seed == 1 and first[7].seed == 17
    chosen = plan_takes(first, [Redo(7, SEED, "keep")], digest)
    assert chosen[6].overrides == Overrides(seed=77, text_scale=3.0)


def test_the_windows_of_a_row_have_seeds_of_their_own():
    row = Overrides(seed=2**64 - 1)
    first = first_takes(WINDOWS, lambda window: row if 3 <= window.index < 6 else Overrides())
    assert [take.seed for take in first[2:7]] == [12, 2**64 - 1, 0, 1, 16]


def test_ten_hours_are_planned_in_less_than_a_second():
    import time

    begin = time.process_time()
    windows = plan(10 * 3600 * 25, WindowConfig())
    first = first_takes(windows)
    chosen = plan_takes(first, [Redo(7, SEED, "resample")], digest)
    assert len(to_sample(chosen, lambda take: False)) == len(windows) == 12500
    assert time.process_time() - begin < 1
