"""Which keys of a LoRA count for what: every naming that ComfyUI reads, and that none is dropped without a word."""

from __future__ import annotations

import pytest

from infinitetalk.model.lora import lora_fit

BASE = {"blocks.0.self_attn.q.weight": (8, 6), "blocks.0.self_attn.q.bias": (8,)}
NAME = "diffusion_model.blocks.0.self_attn.q"


@pytest.mark.parametrize(
    ("down", "up"),
    [
        (".lora_down.weight", ".lora_up.weight"),
        (".lora_A.weight", ".lora_B.weight"),
        (".lora_A.default.weight", ".lora_B.default.weight"),
        (".lora_A", ".lora_B"),
        (".lora.down.weight", ".lora.up.weight"),
        ("_lora.down.weight", "_lora.up.weight"),
        (".lora_linear_layer.down.weight", ".lora_linear_layer.up.weight"),
    ],
)
def test_every_naming_of_the_two_halves_is_read(down, up):
    lora = {f"{NAME}{down}": (2, 6), f"{NAME}{up}": (8, 2), f"{NAME}.alpha": ()}
    assert lora_fit(lora, BASE) == ([NAME], [], {})
    assert lora_fit({**lora, f"{NAME}{up}": (9, 2)}, BASE) == ([], [NAME], {})
    assert lora_fit({**lora, f"{NAME}{up}": ()}, BASE) == ([], [NAME], {})


@pytest.mark.parametrize("end", ["hada_w1_a", "lokr_w1", "oft_blocks", "a1.weight", "diff_b", "w_norm", "set_weight"])
def test_other_kinds_are_read(end):
    assert lora_fit({f"{NAME}.{end}": (8,)}, BASE) == ([NAME], [], {})


def test_keys_of_other_ends_are_left_out_under_their_names():
    lora = {f"{NAME}.lora_{half}.default_0.weight": (8, 8) for half in "AB"}
    assert lora_fit(lora, BASE) == ([], [], {NAME: f"{NAME}.lora_A.default_0.weight"})
    assert lora_fit({"mystery": (1,)}, BASE) == ([], [], {"mystery": "mystery"})
