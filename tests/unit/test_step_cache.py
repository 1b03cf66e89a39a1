"""When blocks are skipped: TeaCache and MagCache on hand-made embeddings and curves, and the tally."""

from __future__ import annotations

import math

import pytest
import torch

from infinitetalk.errors import InputError
from infinitetalk.settings import CacheConfig
from infinitetalk.step_cache import (
    POLYNOMIALS,
    WARM_UP,
    MagCache,
    Tally,
    TeaCache,
    magnitude_ratio,
    polynomial,
    relative_change,
)

LINEAR = (1.0, 0.0)  # the distance is the relative change itself


def growing(factor: float, count: int) -> list[torch.Tensor]:
    return [torch.full((1, 1, 6, 4), factor**n) for n in range(count)]


def decisions(cache: TeaCache, embeddings, key="a") -> list[bool]:
    return [cache.decide({key: e0}) for e0 in embeddings]


def test_distance_and_polynomial():
    assert relative_change(torch.tensor([3.0, -1.0]), torch.tensor([1.0, 1.0])) == 2.0
    assert relative_change(torch.tensor([3.0], dtype=torch.bfloat16), torch.tensor([2.0], dtype=torch.bfloat16)) == 0.5
    assert polynomial((2.0, 0.0, -1.0), 3.0) == 17.0
    assert polynomial(POLYNOMIALS["720"], 0.0) < 0 < polynomial(POLYNOMIALS["480"], 0.0)


def test_the_first_forwards_are_computed_and_then_the_distance_adds_up():
    found = decisions(TeaCache(0.25, LINEAR), growing(1.1, 12))
    # 0.1 a step: 0.1 and 0.2 are below 0.25, 0.3 is not
    assert found == [True] * WARM_UP + [False, False, True, False, False, True, False]


def test_nothing_is_skipped_at_threshold_zero():
    assert all(decisions(TeaCache(0.0, LINEAR), growing(1.0, 12)))


def test_the_accumulated_distance_may_fall():
    cache = TeaCache(0.15, (1.0, -0.05))
    found = decisions(cache, [*growing(1.0, 6), *[torch.full((1, 1, 6, 4), 1.1)] * 4])
    assert found == [True] * WARM_UP + [False] * 5
    assert math.isclose(cache.slots["a"].accumulated, -0.05 + 0.05 - 3 * 0.05, abs_tol=1e-6)


def test_the_embedding_before_is_the_last_one_seen_even_if_it_was_skipped():
    found = decisions(TeaCache(0.15, LINEAR), [*growing(1.0, 5), *[torch.full((1, 1, 6, 4), 1.1)] * 20])
    assert found == [True] * WARM_UP + [False] * 20  # measured against the last computed one it would add 0.1 each time


def test_branches_do_not_know_each_other():
    cache, alone = TeaCache(0.25, LINEAR), TeaCache(0.25, LINEAR)
    wanted = decisions(alone, growing(1.1, 12))
    found = []
    for n, e0 in enumerate(growing(1.1, 12)):
        found.append(cache.decide({"a": e0}))
        if n >= 6:  # a branch that begins later, with embeddings of its own
            assert cache.decide({"b": 5 - e0}) == (n < 6 + WARM_UP)
    assert found == wanted


def test_a_forward_is_skipped_only_when_all_its_branches_may_be():
    cache = TeaCache(0.25, LINEAR)
    decisions(cache, growing(1.1, 5), "old")
    e0 = torch.full((1, 1, 6, 4), 1.1**5)
    assert cache.decide({"old": e0, "new": e0})  # the new branch warms up
    assert cache.slots["old"].accumulated == 0.0  # and the old one's residual is fresh too
    assert not cache.decide({"old": e0 * 1.2})


def test_the_kept_embedding_is_a_copy():
    cache, e0 = TeaCache(0.25, LINEAR), torch.ones(1, 1, 6, 4)
    for _ in range(WARM_UP):
        cache.decide({"a": e0})
    e0 *= 2
    assert cache.decide({"a": e0})


def test_magnitudes():
    ratios = [1.0, 1.0, 0.99, 0.99, 0.99, 0.99, 0.5, 0.99, 0.99, 0.99]

    def run(threshold, max_skips=4, retention=0.2):
        cache = MagCache({"cond": tuple(ratios)}, threshold, max_skips, retention)
        return "".join("cs"[not cache.decide({"k": "cond"}, step)] for step in range(len(ratios)))

    # errors after a computed step: 0.01, +0.0199, +0.029701, ...
    assert run(0.02) == "ccscsccscs"
    assert run(0.03) == "ccsscscssc"
    assert run(1.0, max_skips=1) == "ccscscscsc"
    assert run(1.0, max_skips=100, retention=1.0) == "c" * 10
    assert run(0.0) == "c" * 10
    assert run(1e9, max_skips=100, retention=0.0) == "c" + "s" * 9


def test_magnitudes_of_steps_a_branch_sat_out_count_and_a_repeated_step_does_not():
    cache = MagCache({"cond": (1.0, 0.9, 0.9, 0.9)}, 10.0, 10, 0.0)
    cache.decide({"k": "cond"}, 0)
    cache.decide({"k": "cond"}, 2)
    assert cache.slots["k"].ratio == pytest.approx(0.81)
    cache.decide({"k": "cond"}, 2)
    assert cache.slots["k"].ratio == pytest.approx(0.81)


def test_magnitudes_are_kept_by_branch():
    cache = MagCache({"cond": (1.0,) * 6, "uncond": (0.1,) * 6}, 0.1, 10, 0.0)
    found = [(cache.decide({1: "cond"}, step), cache.decide({2: "uncond"}, step)) for step in range(6)]
    assert found == [(True, True)] + [(False, True)] * 5


def test_the_ratio_is_the_mean_over_tokens():
    before = torch.tensor([[[3.0, 4.0], [0.0, 1.0]]])
    after = torch.tensor([[[6.0, 8.0], [1.0, 0.0]]])
    assert magnitude_ratio(after, before) == 1.5
    assert math.isfinite(magnitude_ratio(after, torch.zeros_like(after)))


def test_the_curve_is_the_mean_of_branches_that_ran_in_every_step():
    tally = Tally(steps=3)
    for step, ratio in ((1, 0.8), (2, 0.9), (1, 1.0), (2, 0.7)):
        tally.measure("cond", step, ratio)
    tally.measure("uncond", 2, 0.5)
    assert tally.curve() == {"cond": (1.0, pytest.approx(0.9), pytest.approx(0.8))}


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"kind": "fbcache"}, "'fbcache' is unknown"),
        ({"threshold": -0.1}, "threshold: -0.1"),
        ({"threshold": math.nan}, "threshold: nan"),
        ({"coefficients": "1080"}, "'1080' is unknown"),
        ({"kind": "magcache", "curve": "a.json"}, "'a.json' is not a file name"),
        ({"kind": "calibrate", "curve": "../a.magcache.json"}, "is not a file name"),
        ({"kind": "calibrate", "curve": "a\\b.magcache.json"}, "is not a file name"),
        ({"kind": "calibrate", "curve": ".magcache.json"}, "is not a file name"),
        ({"max_skips": 0}, "max_skips: 0"),
        ({"max_skips": 2.5}, "max_skips: 2.5"),
        ({"retention": 1.5}, "retention: 1.5"),
    ],
)
def test_bad_settings_are_refused(values, named):
    with pytest.raises(InputError) as error:
        CacheConfig(**values)
    assert named in error.value.problem
