"""The commands of dev.py that need a ComfyUI: host, run, runs, models and demo.

They run inside the development environment. Each takes the ComfyUI folder and the parsed command line, and returns an
exit code.
"""

from __future__ import annotations

import json
import subprocess
import sys
import wave
from argparse import Namespace
from contextlib import nullcontext
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from infinitetalk.errors import InputError
from infinitetalk.runs_text import act
from infinitetalk_cli import models as model_files
from infinitetalk_cli.client import Client, HostError, output_files
from infinitetalk_cli.media import check_sound, picture_size
from infinitetalk_cli.progress import ProgressLine
from infinitetalk_cli.prompt import apply_change, load_workflow
from infinitetalk_cli.server import PACK, Server, command

from . import talking_model
from .base import ASSETS, make_base
from .small_model import make

DEV = PACK / ".dev"
LONGEST_DEMO = 36_000  # seconds; ten hours
BASE = DEV / "base"
PINNED_HOST = DEV / "ComfyUI"
CHECK = "infinitetalk-check"  # a node's id that no editor gives
DEMO_WORKFLOW = PACK / "workflows" / "api" / "infinitetalk_small.json"


def own_folder(comfyui: Path) -> Path:
    """What holds `models` and `output`: an existing ComfyUI, or the base folder where it is the pinned one."""
    return BASE if comfyui.resolve() == PINNED_HOST.resolve() else comfyui  # .dev may lead elsewhere


def prepare(comfyui: Path) -> list[str]:
    """The base folder for development, with the talking model and the random one; the host arguments it asks for.

    The models of an existing ComfyUI stay where they are and can be chosen too.
    """
    make(DEV / "small_model")
    make_base(BASE, talking_model.MODELS, DEV / "small_model")
    models = comfyui / "models"
    if own_folder(comfyui) == BASE or not models.is_dir():
        return []
    paths = {"base_path": str(models), **{folder.name: folder.name for folder in models.iterdir() if folder.is_dir()}}
    config = BASE / "extra_model_paths.yaml"
    config.write_text(json.dumps({"existing": paths}), encoding="utf-8")  # JSON is YAML
    return ["--extra-model-paths-config", str(config)]


def host(comfyui: Path, options: Namespace) -> int:
    """ComfyUI with the pack in the foreground, until Ctrl-C."""
    arguments = [*prepare(comfyui), *options.rest]
    print(f"ComfyUI with the pack: http://127.0.0.1:{options.port} (Ctrl-C ends it)", flush=True)
    with subprocess.Popen(command(comfyui, BASE, options.port, arguments), cwd=comfyui) as process:
        while True:
            try:
                return process.wait()
            except KeyboardInterrupt:
                continue


def opened(comfyui: Path, options: Namespace):
    """A Client while the block lasts: of --server, or of a ComfyUI that is started for it."""
    if options.server is not None:
        return nullcontext(Client(options.server))
    return Server(comfyui, BASE, prepare(comfyui))


def execute(client: Client, prompt: dict, changes: list[str]) -> list[dict]:
    """Queue a workflow with its changes, show progress, and return its output files."""
    for change in changes:
        apply_change(prompt, change, client)
    line = ProgressLine()
    try:
        history = client.queue(prompt, line)
    finally:
        line.end()
    files = output_files(history)
    saved = [file for file in files if file["type"] == "output"]
    return saved or files


def run(comfyui: Path, options: Namespace) -> int:
    """Queue any workflow and copy what it made into --out."""
    try:
        prompt = load_workflow(options.workflow)
        with opened(comfyui, options) as client:
            files = execute(client, prompt, options.changes)
            options.out.mkdir(parents=True, exist_ok=True)
            for file in files:
                client.save(file, options.out / file["filename"])
                print(options.out / file["filename"])
    except (HostError, InputError) as error:
        print(f"dev.py run: {error}", file=sys.stderr)
        return 1
    if not files:
        print("The workflow left no files.")
    return 0


def check(comfyui: Path, options: Namespace) -> int:
    """Look a workflow over without running it; 1 when something in it cannot work."""
    try:
        prompt = load_workflow(options.workflow)
        with opened(comfyui, options) as client:
            for change in options.changes:
                apply_change(prompt, change, client)
            prompt[CHECK] = {"class_type": "InfiniteTalkCheck", "inputs": {"on_problem": "tell"}}
            (text,) = client.queue(prompt, only=[CHECK])["outputs"][CHECK]["text"]
    except (HostError, InputError) as error:
        print(f"dev.py check: {error}", file=sys.stderr)
        return 1
    print(text)
    return int(any(line.startswith("Problem: ") for line in text.splitlines()))


def runs(comfyui: Path, options: Namespace) -> int:
    """What is kept in an output folder; `remove` asks on a terminal unless it is told --yes."""
    output = options.output or own_folder(comfyui) / "output"
    try:
        if options.output and not output.is_dir():
            raise InputError(f"--output: there is no folder {output}.", "Give the output folder of a ComfyUI.")
        confirm = options.yes
        if options.action == "remove" and not confirm and sys.stdin.isatty():
            print(act(output, "show", options.run))
            confirm = input("Remove it for good? [y/N] ").strip().lower() in ("y", "yes")
        print(act(output, options.action, options.run, confirm))
    except InputError as error:
        print(f"dev.py runs: {error}", file=sys.stderr)
        return 1
    return 0


def models(comfyui: Path, options: Namespace) -> int:
    """The model files of the ComfyUI that is used."""
    return model_files.main(options.rest, own_folder(comfyui) / "models")


def fit_speech(source: Path, seconds: float, target: Path) -> Path:
    """Speech cut or repeated to a length, as a WAV file of 16 bits."""
    resampler = av.AudioResampler("s16", "mono")
    with av.open(str(source)) as container:
        if not container.streams.audio:
            raise InputError(f"--audio: {source} holds no sound.", "Give a recording of speech.")
        rate = container.streams.audio[0].rate
        parts = [part.to_ndarray()[0] for frame in container.decode(audio=0) for part in resampler.resample(frame)]
    speech = np.resize(np.concatenate(parts), round(seconds * rate))  # repeats what is too short
    with wave.open(str(target), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(speech.astype("<i2").tobytes())
    return target


def describe(path: Path) -> str:
    """What a video file holds, every frame of it decoded."""
    with av.open(str(path)) as container:
        video = container.streams.video[0]
        sound = container.streams.audio[0].codec_context.name if container.streams.audio else "none"
        frames = sum(1 for _ in container.decode(video))
        fps = Fraction(video.average_rate)
        width, height = video.width, video.height
    seconds = float(frames / fps)
    return f"{path}: {width}x{height} px, {frames} frames, {float(fps):g} fps, {seconds:.2f} s, audio {sound}"


def demo(comfyui: Path, options: Namespace) -> int:
    """The shipped small workflow from a picture and a voice to a video; the last line says what the file holds."""
    image, audio = options.image or ASSETS / "face.png", options.audio or ASSETS / "speech.flac"
    try:
        for label, file in (("--image", image), ("--audio", audio)):
            if not file.is_file():
                raise InputError(f"{label}: there is no file {file}.", "Give the path of a file.")
        picture_size(image, "--image")
        check_sound(audio, "--audio")
        out = options.out or DEV / "demo.mp4"
        if out.is_dir() or not out.suffix:
            raise InputError(f"--out: {out} is not the name of a video.", f"Give one such as {out / 'demo.mp4'}.")
        out.parent.mkdir(parents=True, exist_ok=True)
        if options.seconds is not None:
            if not 0 < options.seconds <= LONGEST_DEMO:
                raise InputError(
                    f"--seconds: {options.seconds:g} is not above 0 and at most {LONGEST_DEMO}.",
                    "Give seconds of speech, such as 8; speech of less than 0.1 s has no frame.",
                )
            DEV.mkdir(exist_ok=True)
            audio = fit_speech(audio, options.seconds, DEV / "demo_speech.wav")
        print("Starting ComfyUI ...", flush=True)
        with Server(comfyui, BASE, prepare(comfyui)) as client:
            changes = [f"LoadImage.image=@{image}", f"LoadAudio.audio=@{audio}"]
            changes += [f"InfiniteTalkSampler.seed={options.seed}"] if options.seed is not None else []
            files = execute(client, load_workflow(DEMO_WORKFLOW), changes)
            videos = [file for file in files if file["filename"].endswith(".mp4")]
            if not videos:
                raise HostError(f"The workflow left no mp4 file; it left {files}.")
            client.save(videos[0], out)
    except (HostError, InputError, av.FFmpegError, OSError) as error:
        print(f"dev.py demo: {error}", file=sys.stderr)
        return 1
    print(describe(out))
    return 0
