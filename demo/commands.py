"""The commands of dev.py that need a ComfyUI: host, run and demo. They run inside the development environment.

Each takes the ComfyUI folder and the parsed command line, and returns an exit code.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import wave
from argparse import Namespace
from contextlib import nullcontext
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from .client import Client, HostError, output_files
from .server import ASSETS, PACK, Server, command, make_base
from .small_model import make

DEV = PACK / ".dev"
LONGEST_DEMO = 36_000  # seconds; ten hours
BASE = DEV / "base"
PINNED_HOST = DEV / "ComfyUI"
DEMO_WORKFLOW = PACK / "workflows" / "api" / "infinitetalk_small.json"


class BadArgument(ValueError):
    """A value on the command line that cannot work; says which and what would."""


def prepare(comfyui: Path) -> list[str]:
    """The base folder for development, with the small model in it; the host arguments it asks for.

    The models of an existing ComfyUI stay where they are and can be chosen too.
    """
    make(DEV / "small_model")
    make_base(BASE, DEV / "small_model")
    models = comfyui / "models"
    if comfyui == PINNED_HOST or not models.is_dir():
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


class ProgressLine:
    """Progress as one line that is rewritten on a terminal; elsewhere a line when a node starts and when it is full."""

    def __init__(self):
        self.live, self.last = sys.stdout.isatty(), ""

    def __call__(self, node: str, value: int, maximum: int) -> None:
        text = f"{node}  {value}/{maximum}" if maximum else node
        if self.live:
            print(f"\r{text[: shutil.get_terminal_size().columns - 1]}\x1b[K", end="", flush=True)
        elif value == maximum and text != self.last:
            print(text, flush=True)
        self.last = text

    def end(self) -> None:
        if self.live and self.last:
            print("\r\x1b[K", end="", flush=True)


def find_node(prompt: dict, name: str) -> str | None:
    """The id of the node that `name` means: an id, a title or a class; None when there is none."""
    if name in prompt:
        return name
    for label in (lambda entry: entry.get("_meta", {}).get("title"), lambda entry: entry["class_type"]):
        found = [node for node, entry in prompt.items() if label(entry) == name]
        if len(found) > 1:
            raise BadArgument(f"--set: {name!r} means nodes {', '.join(found)}: give one of these ids.")
        if found:
            return found[0]
    return None


def apply_change(prompt: dict, change: str, client: Client) -> None:
    """Carry out one NODE.input=value in the workflow; `@FILE` uploads the file and sets its name."""
    target, equals, text = change.partition("=")
    if not equals or "." not in target:
        raise BadArgument(f"--set: {change!r} is not of the form NODE.input=value.")
    splits = [i for i, letter in enumerate(target) if letter == "."]  # titles and inputs may hold dots
    found = ((find_node(prompt, target[:i]), target[i + 1 :]) for i in splits)
    node, name = next(((node, name) for node, name in found if node is not None), (None, ""))
    if node is None:
        names = ", ".join(f"{node} ({entry['class_type']})" for node, entry in prompt.items())
        raise BadArgument(f"--set: the workflow has no node {target[: splits[0]]!r}. It has: {names}.")
    inputs = prompt[node]["inputs"]
    if name not in inputs:
        schema = client.object_info(prompt[node]["class_type"])["input"]
        known = {**schema.get("required", {}), **schema.get("optional", {})}
        if name.split(".")[0] not in known:
            where = f"{prompt[node]['class_type']} (node {node})"
            raise BadArgument(f"--set: {where} has no input {name!r}. It has: {', '.join(known)}.")
    if text.startswith("@"):
        file = Path(text[1:])
        if not file.is_file():
            raise BadArgument(f"--set {target}: there is no file {file}.")
        inputs[name] = client.upload(file)
        return
    try:
        inputs[name] = json.loads(text)
    except ValueError:
        inputs[name] = text


def load_workflow(path: Path) -> dict:
    """A workflow in API format; BadArgument when the file is something else."""
    try:
        prompt = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadArgument(f"{path}: cannot be read as JSON: {error}") from error
    if isinstance(prompt, dict) and "nodes" in prompt and "links" in prompt:
        raise BadArgument(f"{path}: this is a graph of the editor; export it there with File > Export (API).")
    if not (isinstance(prompt, dict) and all(isinstance(e, dict) and "class_type" in e for e in prompt.values())):
        raise BadArgument(f"{path}: this is not a workflow in API format.")
    return prompt


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
        server = nullcontext(Client(options.server)) if options.server else Server(comfyui, BASE, prepare(comfyui))
        with server as client:
            files = execute(client, prompt, options.changes)
            options.out.mkdir(parents=True, exist_ok=True)
            for file in files:
                (options.out / file["filename"]).write_bytes(client.view(file))
                print(options.out / file["filename"])
    except (HostError, BadArgument) as error:
        print(f"dev.py run: {error}", file=sys.stderr)
        return 1
    if not files:
        print("The workflow left no files.")
    return 0


def fit_speech(source: Path, seconds: float, target: Path) -> Path:
    """Speech cut or repeated to a length, as a WAV file of 16 bits."""
    resampler = av.AudioResampler("s16", "mono")
    with av.open(str(source)) as container:
        if not container.streams.audio:
            raise BadArgument(f"--audio: {source} holds no sound.")
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
                raise BadArgument(f"{label}: there is no file {file}.")
        out = options.out or DEV / "demo.mp4"
        if out.is_dir() or not out.suffix:
            raise BadArgument(f"--out: {out} is not the name of a video, such as {out / 'demo.mp4'}.")
        out.parent.mkdir(parents=True, exist_ok=True)
        if options.seconds is not None:
            if not 0 < options.seconds <= LONGEST_DEMO:
                raise BadArgument(f"--seconds: {options.seconds:g} is not between 0 and {LONGEST_DEMO}.")
            DEV.mkdir(exist_ok=True)
            audio = fit_speech(audio, options.seconds, DEV / "demo_speech.wav")
        print("Starting ComfyUI ...", flush=True)
        with Server(comfyui, BASE, prepare(comfyui)) as client:
            changes = [f"LoadImage.image=@{image}", f"LoadAudio.audio=@{audio}"]
            files = execute(client, load_workflow(DEMO_WORKFLOW), changes)
            videos = [file for file in files if file["filename"].endswith(".mp4")]
            if not videos:
                raise HostError(f"The workflow left no mp4 file; it left {files}.")
            part = out.with_name(f"{out.name}.part")
            part.write_bytes(client.view(videos[0]))
            os.replace(part, out)
    except (HostError, BadArgument, av.FFmpegError, OSError) as error:
        print(f"dev.py demo: {error}", file=sys.stderr)
        return 1
    print(describe(out))
    return 0
