"""The command line: the reference's flags and defaults, and one clear refusal of each that cannot be honoured."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from infinitetalk.errors import InputError
from infinitetalk_cli.arguments import host_arguments, make_parser, parse
from infinitetalk_cli.client import Client, HostError
from tests.unit.hub_server import Hub

ROOT = Path(__file__).resolve().parents[2]
HOST = ["--server", "http://127.0.0.1:8188"]
# Of generate_infinitetalk.py.
FLAGS = """task size frame_num max_frame_num ckpt_dir infinitetalk_dir quant_dir wav2vec_dir dit_path lora_dir
lora_scale offload_model ulysses_size ring_size t5_fsdp t5_cpu dit_fsdp save_file audio_save_dir base_seed input_json
motion_frame
mode sample_steps sample_shift sample_text_guide_scale sample_audio_guide_scale num_persistent_param_in_dit audio_mode
use_teacache teacache_thresh use_apg apg_momentum apg_norm_threshold color_correction_strength scene_seg quant
use_sdedit""".split()


def test_every_flag_of_the_reference_is_known_and_described():
    actions = {option: action for action in make_parser()._actions for option in action.option_strings}
    assert [flag for flag in FLAGS if f"--{flag}" not in actions] == []
    assert [name for name, action in actions.items() if not action.help] == []


def test_defaults_are_the_reference_s():
    options = parse(HOST)
    found = {flag: getattr(options, flag) for flag in FLAGS}
    assert found == {
        "task": "infinitetalk-14B", "size": "infinitetalk-480", "frame_num": 81, "max_frame_num": 1000,
        "ckpt_dir": None, "infinitetalk_dir": None, "quant_dir": None, "wav2vec_dir": None, "dit_path": None,
        "lora_dir": [], "lora_scale": [], "offload_model": None, "ulysses_size": 1, "ring_size": 1, "t5_fsdp": False,
        "t5_cpu": False, "dit_fsdp": False, "save_file": None, "audio_save_dir": None, "base_seed": 42,
        "input_json": "examples.json", "motion_frame": 9, "mode": "clip", "sample_steps": 40, "sample_shift": 7.0,
        "sample_text_guide_scale": 5.0, "sample_audio_guide_scale": 4.0, "num_persistent_param_in_dit": None,
        "audio_mode": "localfile", "use_teacache": False, "teacache_thresh": None, "use_apg": False,
        "apg_momentum": None, "apg_norm_threshold": None, "color_correction_strength": 1.0, "scene_seg": False,
        "quant": None, "use_sdedit": None,
    }  # fmt: skip
    assert parse([*HOST, "--size", "infinitetalk-720"]).sample_shift == 11.0
    assert parse([*HOST, "--size", "infinitetalk-720", "--sample_shift", "2"]).sample_shift == 2.0


def test_loras_share_one_strength_or_have_one_each():
    assert parse([*HOST, "--lora_dir", "a", "b"]).lora_scale == [1.2, 1.2]
    assert parse([*HOST, "--lora_dir", "a", "b", "--lora_scale", "1"]).lora_scale == [1, 1]
    assert parse([*HOST, "--lora_dir", "a", "b", "--lora_scale", "1", "0.5"]).lora_scale == [1, 0.5]


def test_a_negative_seed_draws_one():
    seeds = {parse([*HOST, "--base_seed", "-1"]).base_seed for _ in range(8)}
    assert len(seeds) > 1 and all(0 <= seed <= 99_999_999 for seed in seeds)


def test_sdedit_has_a_strength_of_its_own():
    assert parse([*HOST, "--use_sdedit"]).use_sdedit == 0.7
    assert parse([*HOST, "--use_sdedit", "0.4"]).use_sdedit == 0.4


def test_what_a_host_of_our_own_is_started_with():
    options = parse(["--comfyui", "C", "--num_persistent_param_in_dit", "0", "--", "--fp32-vae"])
    assert host_arguments(options) == ["--novram", "--fp32-vae"]
    assert host_arguments(parse(["--offload_model", "False"])) == ["--highvram"]
    assert host_arguments(parse(["--offload_model", "true"])) == []


@pytest.mark.parametrize(
    ("arguments", "problem", "remedy"),
    [
        (["--quant", "fp8"], "--quant: a quanto file is given as what it holds", "--dit_path"),
        (["--quant_dir", "x.safetensors"], "--quant_dir: a quanto file is given as what it holds", "--dit_path"),
        (["--dit_fsdp"], "--dit_fsdp: ComfyUI runs as one process", "MultiGPU CFG Split"),
        (["--t5_fsdp"], "--t5_fsdp: ", "MultiGPU CFG Split"),
        (["--ulysses_size", "8"], "--ulysses_size: ", "MultiGPU CFG Split"),
        (["--ring_size=2"], "--ring_size: ", "MultiGPU CFG Split"),
        (["--audio_mode", "tts"], "--audio_mode: there is no speech synthesis", "Record the speech"),
        (["--audio_save_dir", "x"], "--audio_save_dir: no audio files are written", "Leave it out"),
        (["--num_persistent_param_in_dit", "500000000"], "500000000 is not 0", "--reserve-vram"),
        (["--num_persistent_param_in_dit", "0"], "a running ComfyUI cannot be told", "--novram"),
        (["--offload_model", "false"], "a running ComfyUI cannot be told", "--highvram"),
        (["--offload_model", "maybe"], "neither true nor false", "--help"),
        (["--teacache_thresh", "0.3"], "it does nothing without --use_teacache", "Add --use_teacache"),
        (["--apg_momentum", "-0.5"], "it does nothing without --use_apg", "Add --use_apg"),
        (["--apg_norm_threshold", "50"], "it does nothing without --use_apg", "Add --use_apg"),
        (["--lora_scale", "1.0"], "it does nothing without --lora_dir", "Add --lora_dir"),
        (["--lora_dir", "a", "--lora_scale", "1", "2"], "2 numbers for 1 LoRAs", "one for all"),
        (["--task", "t2v-14B"], "--task: 't2v-14B' is another model", "infinitetalk-14B"),
        (["--size", "480*832"], "--size: '480*832' is unknown", "infinitetalk-480 or infinitetalk-720"),
        (["--mode", "stream"], "--mode: invalid choice: 'stream'", "--help"),
        (["--run_name", "../talk"], "--run_name: '../talk' is a path, not one name", "Use letters"),
        (["--run_name", "x" * 300], "has 300 characters, more than 80", "Use letters"),
        (["--frame_num", "80"], "--frame_num, --motion_frame: frames per window: 80 is not", "Use 77 or 81"),
        (["--motion_frame", "8"], "motion frames: 8 is not", "Use 5 or 9"),
        (["--frame_num", "9"], "motion frames: 9 is not smaller than the 9 frames", "Use at most 5"),
        (["--max_frame_num", "0"], "--max_frame_num: 0 is outside 1 to", "Give a number"),
        (["--sample_steps", "0"], "--sample_steps: 0 is outside 1 to 1000", "Give a number"),
        (["--sample_shift", "nan"], "--sample_shift: nan is outside", "Give a number"),
        (["--color_correction_strength", "1.5"], "1.5 is outside 0 to 1", "Give a number"),
        (["--use_sdedit", "0"], "--use_sdedit: 0 is outside 0.01 to 1", "Give a number"),
        (["--sample_steps", "many"], "--sample_steps: invalid int value: 'many'", "--help"),
        (["--sample_step", "4"], "unrecognized arguments: --sample_step", "--help"),
        (["--comfyui", "C"], "--comfyui: not allowed with argument --server", "--help"),
        (["--", "--lowvram"], "what stands after -- is for an own ComfyUI", "Start the server"),
        (["--embeds", "e", "--negative_prompt", "x"], "--embeds holds the negative prompt too", "Leave one"),
        (["--calibrate", "a", "--use_teacache"], "--calibrate: it measures without a cache", "Leave out"),
        (["--magcache", "a", "--use_teacache"], "--magcache: --use_teacache is given too", "Give one"),
    ],
)
def test_what_cannot_be_honoured_is_refused_in_two_lines(arguments, problem, remedy):
    with pytest.raises(InputError) as caught:
        parse([*HOST, *arguments])
    assert problem in caught.value.problem and remedy in caught.value.remedy
    assert len(str(caught.value).splitlines()) == 2


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ("127.0.0.1:18765", "http://127.0.0.1:18765"),
        ("foo", "http://foo"),
        ("https://host/comfy/", "https://host/comfy"),
        ("[::1]:8188", "http://[::1]:8188"),
    ],
)
def test_an_address_gets_the_scheme_it_lacks(given, address):
    assert Client(given).url == address


@pytest.mark.parametrize(
    "given", ["", "http://", "ftp://host", "host:port", "host:99999", "a b", "a..b", "http://h/?a=1", "host:0"]
)
def test_what_cannot_be_an_address_is_refused_in_two_lines(given):
    for call in (Client, lambda server: parse(["--server", server])):
        with pytest.raises(InputError, match="--server: .* is no address") as caught:
            call(given)
        assert len(str(caught.value).splitlines()) == 2 and "http://127.0.0.1:8188" in caught.value.remedy


def test_a_server_that_does_not_answer_or_is_another_one_is_told_with_what_to_do():
    with Hub({}) as hub:
        client = Client(hub.url.removeprefix("http://"))
        with pytest.raises(HostError, match="/queue: the host answered 401"):
            client.get("/queue")
    for call in (lambda: client.get("/queue"), lambda: client.queue({})):
        with pytest.raises(HostError) as caught:
            call()
        first, remedy = str(caught.value).splitlines()
        assert first.startswith(f"No ComfyUI answers at {hub.url}: ") and "Start ComfyUI there" in remedy


@pytest.mark.parametrize("module", ["infinitetalk_cli", "infinitetalk_cli.models"])
def test_help_needs_no_package(module):
    """-S: a Python without what is installed for it."""
    done = subprocess.run(
        [sys.executable, "-S", "-m", module, "--help"], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0 and done.stdout.startswith("usage: "), done.stderr


def test_the_command_starts_without_torch_and_exits_with_2():
    code = (
        "import sys; from infinitetalk_cli.__main__ import main; code = main(['--server', 'x', '--quant', 'fp8']);"
        "print(sorted({'torch', 'av', 'numpy', 'comfy'} & set(sys.modules)), code)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout == "[] 2\n"
    assert len(done.stderr.splitlines()) == 2 and done.stderr.startswith("--quant: ")
