"""InfiniteTalk Window with a step cache: KSampler skips what our guider skips, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from infinitetalk.errors import InputError
from infinitetalk.settings import CacheConfig, GuidanceConfig
from tests.host.caches import EAGER, STEPS, THREE, block_rows, curves  # noqa: F401  # a fixture
from tests.host.test_compose import EXACT, ROUNDING, difference

pytestmark = pytest.mark.usefixtures("host")


@pytest.fixture(autouse=True)
def as_the_host_runs_nodes():
    with torch.inference_mode():
        yield


def window(machine, cache: CacheConfig | None, model=None, guidance: GuidanceConfig = THREE):
    from infinitetalk.host.window import prepare_window
    from tests.host.machine import CONFIG

    host = (model or machine.model, machine.vae, *machine.texts)
    config = replace(CONFIG, guidance=guidance, cache=cache)
    return prepare_window(host, machine.features(9), machine.reference, config, 0, None)


def ksampler(machine, prepared) -> torch.Tensor:
    import comfy.sample

    model, _, positive, negative, latent, _, _ = prepared
    return comfy.sample.sample(
        model, machine.noise(), STEPS, 1.0, "euler", "simple", positive, negative, latent["samples"], seed=7
    )


def test_ksampler_and_the_guider_skip_by_the_windows_cache(machine):
    import comfy.samplers

    full = ksampler(machine, window(machine, None))
    prepared = window(machine, EAGER)
    with block_rows(machine) as rows:
        skipping = ksampler(machine, prepared)
    assert rows[0] == [3] * 5
    assert difference(full, skipping) > ROUNDING
    sigmas = comfy.samplers.calculate_sigmas(prepared[0].get_model_object("model_sampling"), "simple", STEPS)
    with block_rows(machine) as rows:
        out = prepared[1].sample(
            machine.noise(), prepared[4]["samples"], comfy.samplers.sampler_object("euler"), sigmas, seed=7
        )
    assert rows[0] == [3] * 5
    assert difference(skipping, out) == EXACT
    without = window(machine, None, prepared[0])  # the next window, made from this one's model
    assert difference(full, ksampler(machine, without)) == EXACT


def test_calibrating_in_a_single_window_is_refused(machine):
    with pytest.raises(InputError, match="cache: calibrate writes its curve at the end of a run"):
        window(machine, CacheConfig("calibrate"))


def test_a_curve_that_cannot_serve_is_refused_before_or_at_the_start_of_the_sampling(machine, curves):  # noqa: F811
    from infinitetalk.cache_curve import Curve, read_curve, write_curve

    label = read_curve(curves / EAGER.curve).model
    three = dict.fromkeys(THREE.branches(2), (1.0, 1.0))
    write_curve(curves / "late.magcache.json", Curve(label, (0.8, 0.4, 0.0), three))
    late = replace(EAGER, curve="late.magcache.json")
    with pytest.raises(InputError, match="late.magcache.json has no branch drop_audio"):
        window(machine, late, guidance=GuidanceConfig(1.0, 2.0))
    prepared = window(machine, late)
    with block_rows(machine) as rows, pytest.raises(InputError, match="measured at sigmas 0.8 to 0, this run's steps"):
        ksampler(machine, prepared)
    assert rows[0] == []
