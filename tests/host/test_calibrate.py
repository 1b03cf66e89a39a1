"""Curves measured on the real host, what MagCache makes of them, and what the cache says at the end of a run."""

from __future__ import annotations

import pytest
import torch

from infinitetalk.errors import InputError
from infinitetalk.schedule import flow_sigmas, last_steps
from infinitetalk.settings import CacheConfig, GuidanceConfig
from infinitetalk.step_cache import Tally
from tests.host.caches import (  # noqa: F401  # a fixture
    CURVE,
    EAGER,
    NEVER,
    ONES,
    STEPS,
    THREE,
    block_rows,
    cached,
    curves,
)
from tests.host.test_compose import EXACT, ROUNDING, difference

pytestmark = pytest.mark.usefixtures("host")

WHOLE = flow_sigmas(STEPS, 5.0)


@pytest.fixture(autouse=True)
def as_the_host_runs_nodes():
    with torch.inference_mode():
        yield


def sample(machine, model, sigmas: torch.Tensor) -> torch.Tensor:
    import comfy.samplers

    from infinitetalk.host.guider import make_guider

    guider = make_guider(model, *machine.window(model), THREE)
    return guider.sample(machine.noise(), machine.empty(), comfy.samplers.sampler_object("euler"), sigmas, seed=7)


def watched(model, seen: list[float]):
    """A clone of `model` that notes the sigma of every forward whose first block is computed."""

    def note(args, extra):
        seen.append(args["transformer_options"]["sigmas"].item())
        return extra["original_block"](args)

    model = model.clone()
    model.set_model_patch_replace(note, "dit", "double_block", 0)
    return model


def test_reports(machine):
    from infinitetalk.host.step_cache import finish_cache

    assert finish_cache(None, Tally()) == ""
    assert finish_cache(EAGER, Tally(84, 36, steps=40)) == "36 of 120 forwards skipped (30 %)"
    tally = Tally()
    machine.sample(cached(machine, CacheConfig(threshold=0.3), tally), THREE, steps=4)
    line = finish_cache(CacheConfig(threshold=0.3), tally)
    assert line == "0 of 12 forwards skipped (0 %); the first 5 steps are always computed and this run has 4"
    assert finish_cache(NEVER, Tally(30, 0, steps=10)).endswith("threshold 0 was always exceeded")


def test_calibrating_writes_the_curve_that_magcache_reads(machine, curves):  # noqa: F811
    from infinitetalk.cache_curve import read_curve
    from infinitetalk.host.step_cache import check_cache, finish_cache

    full = machine.sample(guidance=THREE, steps=STEPS)
    calibrate, tally = CacheConfig("calibrate", curve=CURVE), Tally()
    assert difference(full, machine.sample(cached(machine, calibrate, tally), THREE, steps=STEPS)) == EXACT
    machine.sample(cached(machine, calibrate, tally), THREE, seed=8, steps=STEPS)
    assert (tally.computed, tally.skipped) == (60, 0)
    assert "curve of 10 steps for cond, drop_text, uncond written to" in finish_cache(calibrate, tally)
    curve = read_curve(curves / CURVE)
    assert set(curve.branches) == {"cond", "drop_text", "uncond"} and curve.steps == STEPS
    assert len(set(curve.branches.values())) == 3

    used = CacheConfig("magcache", 5.0, curve=CURVE, max_skips=2, retention=0.2)
    check_cache(machine.model, used, THREE, WHOLE)
    tally = Tally()
    with block_rows(machine) as rows:
        out = machine.sample(cached(machine, used, tally), THREE, steps=STEPS)
    # steps 0 and 1, then two skipped after each computed one: 4, 7
    assert rows[0] == [3] * 4 and (tally.computed, tally.skipped) == (12, 18)
    assert difference(out, full) > ROUNDING
    for sigmas in (flow_sigmas(6, 5.0), flow_sigmas(6, 9.0), last_steps(WHOLE, 0.7)):  # other steps, shift, SDEdit
        check_cache(machine.model, used, THREE, sigmas)
        other = Tally()
        sample(machine, cached(machine, used, other), sigmas)
        assert other.skipped > 0

    with pytest.raises(InputError, match="has no branch drop_audio, only cond"):
        check_cache(machine.model, used, GuidanceConfig(1.0, 2.0), WHOLE)


def test_a_step_is_judged_by_the_ratio_of_its_sigma(machine, curves):  # noqa: F811
    """The residuals jump in step 6 of 10: computed there, in a whole run and in its last seven steps."""
    from infinitetalk.cache_curve import Curve, read_curve, write_curve

    label = read_curve(curves / ONES).model
    jump = tuple(2.0 if step == 6 else 1.0 for step in range(STEPS))
    write_curve(
        curves / "jump.magcache.json", Curve(label, tuple(WHOLE.tolist()), dict.fromkeys(THREE.branches(STEPS), jump))
    )
    used = CacheConfig("magcache", 0.5, curve="jump.magcache.json", max_skips=100, retention=0.0)
    for share, computed in ((1.0, [0, 6]), (0.7, [3, 6])):
        sigmas, seen = last_steps(WHOLE, share), []
        sample(machine, watched(cached(machine, used), seen), sigmas)
        first = STEPS + 1 - len(sigmas)
        assert [first + sigmas[:-1].tolist().index(sigma) for sigma in seen] == computed


def test_a_curve_of_the_last_steps_is_refused_in_a_whole_run(machine, curves):  # noqa: F811
    from infinitetalk.host.step_cache import check_cache, finish_cache

    name = "part.magcache.json"
    calibrate, used, tally = CacheConfig("calibrate", curve=name), CacheConfig("magcache", 5.0, curve=name), Tally()
    part = last_steps(WHOLE, 0.7)
    sample(machine, cached(machine, calibrate, tally), part)
    assert finish_cache(calibrate, tally).endswith("; only for runs from sigma 0.9092 on")

    check_cache(machine.model, used, THREE, part)
    sample(machine, cached(machine, used, tally), part)
    assert tally.skipped > 0
    message = "was measured at sigmas 0.9092 to 0, this run's steps are at 1 to 0.00"
    with pytest.raises(InputError, match=message):
        check_cache(machine.model, used, THREE, WHOLE)
    with block_rows(machine) as rows, pytest.raises(InputError, match=message):
        sample(machine, cached(machine, used), WHOLE)  # where nothing could be asked before
    assert rows[0] == []


def test_a_branch_the_curve_has_not_is_refused_by_the_sampling_too(machine, curves):  # noqa: F811
    from infinitetalk.cache_curve import Curve, read_curve, write_curve

    label = read_curve(curves / ONES).model
    write_curve(curves / "two.magcache.json", Curve(label, tuple(WHOLE.tolist()), {"cond": (1.0,) * STEPS}))
    used = CacheConfig("magcache", curve="two.magcache.json")
    with pytest.raises(InputError, match="two.magcache.json has no branch .*drop_text.*, only cond"):
        sample(machine, cached(machine, used), WHOLE)


def test_the_curve_of_another_model_is_refused(machine, curves):  # noqa: F811
    from infinitetalk.cache_curve import Curve, write_curve
    from infinitetalk.host.step_cache import check_cache

    used = CacheConfig("magcache", curve="other.magcache.json")
    with pytest.raises(InputError, match="does not exist"):
        check_cache(machine.model, used, THREE, WHOLE)
    write_curve(curves / "other.magcache.json", Curve("40 blocks of width 5120", (1.0, 0.0), {"cond": (1.0,)}))
    with pytest.raises(InputError, match="was measured on 40 blocks of width 5120, the model is"):
        check_cache(machine.model, used, THREE, WHOLE)
    with pytest.raises(InputError, match="was measured on"):
        cached(machine, used)


def test_a_run_too_short_to_measure_says_so(machine, curves):  # noqa: F811
    from infinitetalk.host.step_cache import finish_cache

    calibrate, tally = CacheConfig("calibrate", curve="short.magcache.json"), Tally()
    machine.sample(cached(machine, calibrate, tally), THREE, steps=1)
    assert finish_cache(calibrate, tally).startswith("no curve was measured")
    assert not (curves / "short.magcache.json").exists()


def test_a_folder_that_takes_no_curve_is_refused_early_and_loses_no_video_late(machine, tmp_path, monkeypatch):
    import folder_paths

    from infinitetalk.host.step_cache import check_cache, finish_cache

    (tmp_path / "file").write_text("")
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "infinitetalk", ([str(tmp_path / "file")], {".json"}))
    calibrate, tally = CacheConfig("calibrate", curve=CURVE), Tally()
    with pytest.raises(InputError, match="cannot be written"):
        check_cache(machine.model, calibrate, THREE, WHOLE)
    machine.sample(cached(machine, calibrate, tally), THREE, steps=2)
    assert finish_cache(calibrate, tally).startswith("the curve could not be written: ")
