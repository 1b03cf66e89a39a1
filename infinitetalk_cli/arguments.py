"""The command line: the reference's flags by their names and with their defaults, and the few of this program.

A flag that cannot be honoured is refused with what to use instead. Knows numbers and words, no files and no host.
"""

from __future__ import annotations

import argparse
import random

from infinitetalk.config import WindowConfig
from infinitetalk.errors import InputError
from infinitetalk.run_names import check_run_name

from .address import host_address

TASK = "infinitetalk-14B"
SIZES = {"infinitetalk-480": "480p", "infinitetalk-720": "720p"}
SHIFT = {"infinitetalk-480": 7.0, "infinitetalk-720": 11.0}
SDEDIT = 0.7  # of --use_sdedit without a number
LORA_SCALE = 1.2
SEEDS = 99_999_999  # a negative --base_seed draws one up to this, as the reference does
USAGE = "python -m infinitetalk_cli --input_json F.json (--server URL | --comfyui DIR) [flags] [-- ComfyUI's own flags]"

QUANTO = (
    "a quanto file is given as what it holds.",
    "Give the file with --dit_path, for the model in it, and again with --infinitetalk_dir, for the adapter in it.",
)
PROCESSES = (
    "ComfyUI runs as one process.",
    "Leave it out. For several GPUs put ComfyUI's MultiGPU CFG Split before the sampler of a workflow.",
)
# flag -> the values that ask for nothing, why all others cannot be honoured, what to use instead
UNAVAILABLE = {
    "quant": ((None,), *QUANTO),
    "quant_dir": ((None,), *QUANTO),
    "t5_fsdp": ((False,), *PROCESSES),
    "dit_fsdp": ((False,), *PROCESSES),
    "ulysses_size": ((1,), *PROCESSES),
    "ring_size": ((1,), *PROCESSES),
    "audio_mode": (
        ("localfile",),
        "there is no speech synthesis.",
        "Record the speech and name its file in cond_audio.",
    ),
    "audio_save_dir": (
        (None,),
        "no audio files are written.",
        "Leave it out: the video holds the sound; Save Audio in a workflow keeps the mix of InfiniteTalk Speakers.",
    ),
}
# flag -> the flag without which it does nothing
COMPANIONS = {
    "teacache_thresh": "use_teacache",
    "apg_momentum": "use_apg",
    "apg_norm_threshold": "use_apg",
    "lora_scale": "lora_dir",
}
RANGES = {
    "max_frame_num": (1, 10_000_000),
    "sample_steps": (1, 1000),
    "sample_shift": (0.01, 100),
    "sample_text_guide_scale": (0, 100),
    "sample_audio_guide_scale": (0, 100),
    "teacache_thresh": (0, 10),
    "apg_momentum": (-0.99, 0.99),
    "apg_norm_threshold": (0.01, 100_000),
    "color_correction_strength": (0, 1),
    "use_sdedit": (0.01, 1),
}


class Parser(argparse.ArgumentParser):
    """Says what is wrong in two lines, as every other refusal."""

    def error(self, message: str):
        raise InputError(message, "See python -m infinitetalk_cli --help.")


def yes_or_no(text: str) -> bool:
    if text.lower() in ("yes", "true", "t", "y", "1"):
        return True
    if text.lower() in ("no", "false", "f", "n", "0"):
        return False
    raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")


def make_parser() -> Parser:
    parser = Parser("infinitetalk_cli", usage=USAGE, description=__doc__.split("\n\n")[0], allow_abbrev=False)
    files = parser.add_argument_group("what to make")
    add = files.add_argument
    add("--input_json", default="examples.json", metavar="F.json", help="prompt, cond_video, cond_audio and so on")
    add("--save_file", metavar="NAME", help="the video; .mp4 is added (default: a name of the prompt and the time)")
    add("--task", default=TASK, help=f"only {TASK}")
    add("--size", default="infinitetalk-480", help=f"{' or '.join(SIZES)}; the shape follows the picture's")
    add("--mode", default="clip", choices=("clip", "streaming"), help="clip (default): one window; streaming: all")
    add("--frame_num", type=int, default=81, metavar="N", help="frames of a window, 4n+1 (81)")
    add("--max_frame_num", type=int, default=1000, metavar="N", help="at most so many frames in all, streaming (1000)")
    add("--motion_frame", type=int, default=9, metavar="N", help="frames that a window continues from, 4n+1 (9)")
    add("--base_seed", type=int, default=42, metavar="N", help="42; negative: a random one")

    add = parser.add_argument_group("model files").add_argument
    add("--ckpt_dir", metavar="DIR", help="folder with the Wan files: model, text encoder, VAE, CLIP vision")
    add("--dit_path", metavar="F", help="the base model, one .safetensors file of Wan2.1 I2V 14B")
    add(
        "--infinitetalk_dir",
        metavar="F",
        help="the adapter; of a folder single/, or multi/ for several or a bbox",
    )
    add("--wav2vec_dir", metavar="DIR", help="folder or file of chinese-wav2vec2-base")
    add("--lora_dir", nargs="+", metavar="F", help="LoRA files")
    add(
        "--lora_scale",
        type=float,
        nargs="+",
        metavar="S",
        help=f"their strengths, one each or one for all ({LORA_SCALE})",
    )
    add("--quant", metavar="KIND", help="refused: see --dit_path")
    add("--quant_dir", metavar="F", help="refused: see --dit_path")

    add = parser.add_argument_group("sampling").add_argument
    add("--sample_steps", type=int, default=40, metavar="N", help="40")
    add("--sample_shift", type=float, metavar="S", help="7 at 480, 11 at 720")
    add("--sample_text_guide_scale", type=float, default=5.0, metavar="S", help="5; with a distillation LoRA 1")
    add("--sample_audio_guide_scale", type=float, default=4.0, metavar="S", help="4; with a distillation LoRA 2")
    add("--use_teacache", action="store_true", help="skip model calls whose result would hardly differ")
    add("--teacache_thresh", type=float, metavar="S", help="0.2")
    add("--use_apg", action="store_true", help="adaptive projected guidance")
    add("--apg_momentum", type=float, metavar="S", help="-0.75")
    add("--apg_norm_threshold", type=float, metavar="S", help="55")
    add("--color_correction_strength", type=float, default=1.0, metavar="S", help="0 to 1 (1)")
    add("--scene_seg", action="store_true", help="start afresh at every cut of the source video")
    add("--use_sdedit", type=float, nargs="?", const=SDEDIT, metavar="S",
        help=f"start from the source video's noised pictures; 1 is pure noise ({SDEDIT})")  # fmt: skip

    add = parser.add_argument_group("machine").add_argument
    add("--offload_model", type=yes_or_no, metavar="BOOL", help="false: an own ComfyUI runs with --highvram")
    add("--num_persistent_param_in_dit", type=int, metavar="N", help="0: an own ComfyUI runs with --novram")
    add("--t5_cpu", action="store_true", help="run the text encoder on the CPU")
    add("--audio_mode", default="localfile", choices=("localfile", "tts"), help="tts is refused")
    for flag in ("t5_fsdp", "dit_fsdp"):
        add(f"--{flag}", action="store_true", help="refused")
    for flag in ("ulysses_size", "ring_size"):
        add(f"--{flag}", type=int, default=1, metavar="N", help="only 1")
    add("--audio_save_dir", metavar="DIR", help="refused")

    add = parser.add_argument_group("not in the reference").add_argument
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--server", metavar="URL", help="a running ComfyUI with this pack")
    where.add_argument("--comfyui", metavar="DIR", help="a ComfyUI folder to start one from (or COMFYUI_PATH)")
    add("--negative_prompt", metavar="TEXT", help="instead of the workflow's")
    add("--embeds", metavar="F", help="prompts and CLIP features from a file of Save InfiniteTalk Embeds")
    add("--magcache", metavar="NAME", help="skip model calls by a curve that --calibrate has written")
    add("--calibrate", metavar="NAME", help="write the MagCache curve of this model and these steps")
    add("--run_name", default="", metavar="NAME", help="begins the name of the run's folder in ComfyUI's output folder")
    add("--afresh", action="store_true", help="make a new run where one of the same inputs would be continued")
    add("--set", action="append", default=[], metavar="NODE.input=value", dest="changes",
        help="change the workflow at last: NODE is a title, class or id; value is JSON, text or @FILE")  # fmt: skip
    return parser


def parse(arguments: list[str]) -> argparse.Namespace:
    """The checked command line; `rest` is what stands after --, for an own ComfyUI. InputError for what cannot work."""
    own, rest = arguments, []
    if "--" in arguments:
        split = arguments.index("--")
        own, rest = arguments[:split], arguments[split + 1 :]
    options = make_parser().parse_args(own)
    options.rest = rest
    refuse(options)
    check(options)
    fill(options)
    return options


def refuse(options: argparse.Namespace) -> None:
    """InputError for the first flag that asks for what is not there, or that does nothing without another one."""
    for name, (harmless, why, instead) in UNAVAILABLE.items():
        if getattr(options, name) not in harmless:
            raise InputError(f"--{name}: {why}", instead)
    for name, companion in COMPANIONS.items():
        if getattr(options, name) is not None and not getattr(options, companion):
            raise InputError(f"--{name}: it does nothing without --{companion}.", f"Add --{companion} or leave it out.")
    if options.num_persistent_param_in_dit not in (None, 0):
        raise InputError(
            f"--num_persistent_param_in_dit: {options.num_persistent_param_in_dit} is not 0.",
            "ComfyUI itself decides what stays on the card: leave it out, or end with -- --reserve-vram GB.",
        )
    for name in ("num_persistent_param_in_dit", "offload_model"):
        value = getattr(options, name)
        if options.server and value is not None and not (name == "offload_model" and value):
            flag = "--novram" if value == 0 and name != "offload_model" else "--highvram"
            raise InputError(
                f"--{name}: a running ComfyUI cannot be told.", f"Start it with {flag}, and leave this out."
            )
    if options.server and options.rest:
        raise InputError("--server: what stands after -- is for an own ComfyUI.", "Start the server with it instead.")
    if options.embeds and options.negative_prompt is not None:
        raise InputError("--negative_prompt: --embeds holds the negative prompt too.", "Leave one of the two out.")
    if options.calibrate and (options.magcache or options.use_teacache):
        raise InputError("--calibrate: it measures without a cache.", "Leave out --magcache and --use_teacache.")
    if options.magcache and options.use_teacache:
        raise InputError("--magcache: --use_teacache is given too.", "Give one of them.")


def check(options: argparse.Namespace) -> None:
    """InputError for the first value outside its range, or that is not what it should be."""
    if options.server is not None:
        host_address(options.server)
    if options.task != TASK:
        raise InputError(f"--task: {options.task!r} is another model.", f"This pack makes talking videos: {TASK}.")
    if options.size not in SIZES:
        raise InputError(f"--size: {options.size!r} is unknown.", f"Use {' or '.join(SIZES)}.")
    for name, (low, high) in RANGES.items():
        value = getattr(options, name)
        if value is not None and not low <= value <= high:  # NaN is refused too
            raise InputError(f"--{name}: {value:g} is outside {low:g} to {high:g}.", "Give a number in this range.")
    try:
        WindowConfig(options.frame_num, options.motion_frame)
    except InputError as error:
        raise InputError(f"--frame_num, --motion_frame: {error.problem}", error.remedy) from error
    try:
        check_run_name(options.run_name)
    except InputError as error:
        raise InputError(f"--{error.problem}", error.remedy) from error
    loras, scales = len(options.lora_dir or ()), len(options.lora_scale or ())
    if scales > 1 and scales != loras:
        raise InputError(f"--lora_scale: {scales} numbers for {loras} LoRAs.", "Give one for each, or one for all.")


def fill(options: argparse.Namespace) -> None:
    """Put the defaults that depend on other flags."""
    if options.sample_shift is None:
        options.sample_shift = SHIFT[options.size]
    if options.base_seed < 0:
        options.base_seed = random.randint(0, SEEDS)
    scales = options.lora_scale or [LORA_SCALE]
    options.lora_dir = options.lora_dir or []
    options.lora_scale = scales * len(options.lora_dir) if len(scales) == 1 else scales


def host_arguments(options: argparse.Namespace) -> list[str]:
    """What an own ComfyUI is started with."""
    offload = ["--highvram"] if options.offload_model is False else []
    persistent = ["--novram"] if options.num_persistent_param_in_dit == 0 else []
    return [*offload, *persistent, *options.rest]
