"""The node that holds the settings of the step cache."""

from __future__ import annotations

from comfy_api.latest import io

from ..infinitetalk.host.step_cache import check_curve, curve_fingerprint
from ..infinitetalk.settings import CACHE_KINDS, COEFFICIENTS, CURVE_SUFFIX, CacheConfig
from .common import ALIASES, CATEGORY, Cache, verdict


class InfiniteTalkStepCache(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="InfiniteTalkStepCache",
            display_name="InfiniteTalk Step Cache",
            category=CATEGORY,
            description="Skips model calls that would hardly change the picture, for each of the guidance's branches "
            "by itself and afresh in every window. Faster, not the same picture.",
            search_aliases=[*ALIASES, "teacache", "magcache", "easycache", "cache", "speed"],
            inputs=[
                io.Combo.Input(
                    "kind",
                    options=list(CACHE_KINDS),
                    default="teacache",
                    tooltip="teacache as in the reference; magcache by a curve measured for the model; "
                    "calibrate skips nothing and writes that curve.",
                ),
                io.Float.Input(
                    "threshold",
                    default=0.2,
                    min=0.0,
                    max=10.0,
                    step=0.01,
                    tooltip="More skips more. teacache: 0.2 to 0.5; magcache: 0.02 to 0.12. 0 skips nothing.",
                ),
                io.Combo.Input(
                    "coefficients",
                    options=list(COEFFICIENTS),
                    default="480",
                    optional=True,
                    tooltip="teacache: the model's resolution.",
                ),
                io.String.Input(
                    "curve",
                    default=f"infinitetalk{CURVE_SUFFIX}",
                    optional=True,
                    tooltip="magcache and calibrate: file in models/infinitetalk that is read or written.",
                ),
                io.Int.Input(
                    "max_skips",
                    default=4,
                    min=1,
                    max=100,
                    optional=True,
                    tooltip="magcache: calls of a branch skipped in a row at most.",
                ),
                io.Float.Input(
                    "retention",
                    default=0.2,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    optional=True,
                    tooltip="magcache: share of the steps at the start that is always computed.",
                ),
            ],
            outputs=[Cache.Output(display_name="cache", tooltip="For InfiniteTalk Sampler or InfiniteTalk Window.")],
        )

    @classmethod
    def validate_inputs(cls, kind=None, curve=None):
        return verdict(check_curve, kind, curve)

    @classmethod
    def execute(
        cls, kind, threshold, coefficients="480", curve="infinitetalk.magcache.json", max_skips=4, retention=0.2
    ):
        check_curve(kind, curve)
        return io.NodeOutput(CacheConfig(kind, float(threshold), coefficients, curve, max_skips, float(retention)))

    @classmethod
    def fingerprint_inputs(cls, kind, curve="infinitetalk.magcache.json", **values):
        return curve_fingerprint(kind, curve)
