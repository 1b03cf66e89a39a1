"""A folder of curve files and a cache that skips half the steps, for tests of the step cache on the small model."""

from __future__ import annotations

import contextlib

import pytest

from infinitetalk.settings import CacheConfig, GuidanceConfig
from infinitetalk.step_cache import Tally

STEPS = 10
ONES, CURVE = "ones.magcache.json", "measured.magcache.json"
# The first half of the steps is computed, then none. By magnitudes, because the small model's random time embedding
# changes a hundred times as much from step to step as a trained one's.
EAGER = CacheConfig("magcache", 1.0, curve=ONES, max_skips=100, retention=0.5)
NEVER = CacheConfig(threshold=0.0)
THREE = GuidanceConfig(3.0, 2.0)


@pytest.fixture(scope="module", autouse=True)
def curves(machine, tmp_path_factory):
    """A folder of curve files that the host knows as models/infinitetalk, with one that never changes."""
    import folder_paths

    from infinitetalk.cache_curve import Curve, write_curve

    folder = tmp_path_factory.mktemp("curves")
    blocks = machine.plain.model.diffusion_model
    branches = dict.fromkeys(("cond", "drop_text", "drop_audio", "uncond"), (1.0,) * STEPS)
    label = f"{len(blocks.blocks)} blocks of width {blocks.dim}"
    write_curve(folder / ONES, Curve(label, tuple(1 - n / STEPS for n in range(STEPS + 1)), branches))
    before = folder_paths.folder_names_and_paths.get("infinitetalk")
    folder_paths.folder_names_and_paths["infinitetalk"] = ([str(folder)], {".json"})
    yield folder
    if before is None:
        del folder_paths.folder_names_and_paths["infinitetalk"]
    else:
        folder_paths.folder_names_and_paths["infinitetalk"] = before


def cached(machine, config: CacheConfig = EAGER, tally: Tally | None = None, model=None):
    from infinitetalk.host.step_cache import with_cache

    return with_cache(model or machine.model, config, tally or Tally())


@contextlib.contextmanager
def block_rows(machine):
    """Rows that the first and the last block computed, call by call, counted by the modules themselves."""
    blocks = machine.plain.model.diffusion_model.blocks
    seen: dict[int, list[int]] = {0: [], len(blocks) - 1: []}
    hooks = [blocks[n].register_forward_hook(lambda module, args, out, n=n: seen[n].append(out.shape[0])) for n in seen]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()
