"""python -m infinitetalk_cli: a talking video from the reference's JSON and flags, made by a ComfyUI.

Exit codes: 0 done, 1 the host failed, 2 something given cannot work, 130 cancelled. Progress and messages go to
stderr; the last line on stdout is the file.
"""

from __future__ import annotations

import re
import signal
import sys
import time
from argparse import Namespace
from pathlib import Path

from infinitetalk.errors import InputError

from .arguments import parse
from .build import build
from .client import Client, HostError, output_files
from .host import OwnHost, find_comfyui, open_host, put
from .job import Job, read_job
from .media import inspect
from .packages import needed
from .progress import ProgressLine
from .prompt import apply_change
from .weights import Weights


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def target(options: Namespace, job: Job) -> Path:
    """The file to write: --save_file with .mp4, or as the reference names it, of task, size, prompt and time."""
    name = options.save_file
    if name is None:
        words = re.sub(r"[^\w-]+", "_", job.prompt or job.source.stem)[:50]
        name = f"{options.task}_{options.size}_{words}_{time.strftime('%Y%m%d_%H%M%S')}"
    path = Path(name if name.endswith(".mp4") else f"{name}.mp4")
    if not path.parent.is_dir():
        raise InputError(f"--save_file: there is no folder {path.parent}.", "Make it, or give another name.")
    if path.is_dir():
        raise InputError(f"--save_file: {path} is a folder.", "Give the name of a file.")
    return path


def check_together(job: Job, options: Namespace) -> None:
    """Flags that need a video as the source."""
    for flag, given in (("scene_seg", options.scene_seg), ("use_sdedit", options.use_sdedit is not None)):
        if given and not job.is_video:
            raise InputError(
                f"--{flag}: cond_video is a picture, {job.source}.", "Give a video, or leave the flag out."
            )


def make(client: Client, job: Job, options: Namespace, weights: Weights) -> dict:
    """Run the job on a host; the finished video, one of output_files."""
    files = [job.source, *(person.voice for person in job.persons), job.soundtrack]
    names = {file: put(client, file) for file in dict.fromkeys(files) if file}
    prompt = build(job, options, weights, names)
    for change in options.changes:
        apply_change(prompt, change, client)
    weights.settle(prompt, client)
    line = ProgressLine(sys.stderr)
    try:
        history = client.queue(prompt, line)
    finally:
        line.end()
    videos = [file for file in output_files(history) if file["filename"].endswith(".mp4") and file["type"] == "output"]
    if not videos:
        raise HostError("The workflow left no video.")
    return videos[0]


def run(arguments: list[str]) -> Path:
    """Everything; the file that was written."""
    options = parse(arguments)
    job = read_job(Path(options.input_json), with_prompt=not options.embeds)
    check_together(job, options)
    path = target(options, job)
    weights = Weights.of(options, job.has_regions)
    job = inspect(job)
    if not options.server:
        say(f"Starting ComfyUI of {find_comfyui(options)} ...")
    if options.embeds and job.prompt:
        say(f"The prompts are those of {options.embeds}; that of {options.input_json} is not used.")
    with open_host(options, weights) as client:
        say(f"ComfyUI: {client.url}, seed {options.base_seed}")
        try:
            video = make(client, job, options, weights)
        except (HostError, KeyboardInterrupt):
            if isinstance(client, OwnHost):
                for saved in client.rescue(path.parent, path.stem):
                    say(f"The finished windows are in {saved}")
                say(f"The run is kept in {client.runs}: the same command goes on with it.")
            raise
        client.save(video, path)
    return path


def main(arguments: list[str]) -> int:
    try:
        with needed():
            print(run(arguments))
    except InputError as error:
        say(str(error))
        return 2
    except (HostError, OSError) as error:
        say(str(error))
        return 1
    except KeyboardInterrupt:
        say("Cancelled.")
        return 130
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # both cancel the run at the host
    sys.exit(main(sys.argv[1:]))
