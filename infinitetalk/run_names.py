"""Names of runs, and the folders they stand for: always one folder directly below output/InfiniteTalk/runs.

A name comes from a node or a prompt, so it is distrusted: it becomes part of a folder on any system and of
addresses in the browser. Knows paths only, not what a run's folder holds.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from .errors import InputError

LONGEST_NAME = 80  # characters; the folder adds a dash and the hash, and files inside need room in a path
HASH_DIGITS = 16
HOW = "Use letters a to z, digits, space, dot, dash and underscore, beginning with a letter or digit."

_ALLOWED = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]*")
_DRIVE = re.compile(r"[A-Za-z]:")
_DEVICES = {"CON", "PRN", "AUX", "NUL", "CLOCK$", *(f"{port}{n}" for port in ("COM", "LPT") for n in range(10))}
_HASH = re.compile(rf"[0-9a-f]{{{HASH_DIGITS}}}")


def check_run_name(text: str) -> str:
    """`text` when it is "" or can be a run's name: at most 80 characters that are one folder's name everywhere.

    Raises InputError, saying what is wrong with it.
    """
    return text if text == "" else _checked(text, "run_name", LONGEST_NAME)


def folder_name(name: str, digest: str) -> str:
    """The folder of the run called `name` ("" for none) whose identity is `digest` (hex, at least 16 digits)."""
    return f"{check_run_name(name)}-{digest[:HASH_DIGITS]}".removeprefix("-")


def runs_root(output: str | Path) -> Path:
    """Where the folders of all runs are, below the host's output folder."""
    return Path(output) / "InfiniteTalk" / "runs"


def run_folder_path(output: str | Path, name: str) -> Path:
    """The folder called `name` of one run, which may not exist yet.

    Raises InputError when it is not a direct child of runs_root(output), when it or the two folders above it are
    links (the output folder itself may be one), and when a file is in the way.
    """
    _checked(name, "run", LONGEST_NAME + 1 + HASH_DIGITS)
    return _own(_root(output) / name)


def run_folders(output: str | Path) -> list[Path]:
    """The folders of all runs, by name; what is hidden, a link or a file is none of them.

    Raises InputError when the folder of runs is a link or a file.
    """
    root = _root(output)
    if not root.is_dir():
        return []
    return sorted(
        path for path in root.iterdir() if _ALLOWED.fullmatch(path.name) and path.is_dir() and not is_link(path)
    )


def find(output: str | Path, text: str, exact: bool = False) -> Path:
    """The folder of the one existing run that `text` means: its folder, its name, or how one of the two begins.

    exact: a beginning is not enough, as for what cannot be taken back.

    Raises InputError for a text that cannot be one, that no run or more than one answers to; it lists what there is.
    """
    _checked(text, "run", LONGEST_NAME + 1 + HASH_DIGITS)
    there = {path.name: path for path in run_folders(output)}
    for fits in (_is_folder, _is_name) if exact else (_is_folder, _is_name, _begins):
        found = [name for name in there if fits(name, text)]
        if len(found) == 1:
            return run_folder_path(output, found[0])
        if found:
            raise InputError(
                f"run: {text!r} means {len(found)} runs: {', '.join(found)}.",
                "Write more of the folder's name, up to where they differ.",
            )
    raise InputError(f"run: there is no run {text!r} in {runs_root(output)}.", listing(list(there)))


def listing(names: list[str]) -> str:
    """A sentence that tells which runs there are."""
    if not names:
        return "There is no run yet: InfiniteTalk Sampler makes one."
    more = f" and {len(names) - 20} more" if len(names) > 20 else ""
    return f"There {'is' if len(names) == 1 else 'are'}: {', '.join(names[:20])}{more}."


def is_link(path: Path) -> bool:
    """Whether `path` is a symbolic link, or a junction as Windows makes them."""
    junction = getattr(os.path, "isjunction", None)  # Python 3.12
    return path.is_symlink() or bool(junction and junction(path))


def _root(output: str | Path) -> Path:
    root = runs_root(output)
    return _own(root.parent) and _own(root)


def _own(place: Path) -> Path:
    """`place`, which is a real folder or nothing yet."""
    if is_link(place):
        raise InputError(
            f"run: {place} is a link to {os.path.realpath(place)}, not a folder of its own.",
            "Put a real folder there. To keep runs on another disk, start ComfyUI with --output-directory.",
        )
    if os.path.lexists(place) and not place.is_dir():
        raise InputError(f"run: {place} is a file, not a folder.", "Move it away, or use another name.")
    return place


def _is_folder(folder: str, text: str) -> bool:
    return folder == text


def _is_name(folder: str, text: str) -> bool:
    return folder.startswith(f"{text}-") and bool(_HASH.fullmatch(folder[len(text) + 1 :]))


def _begins(folder: str, text: str) -> bool:
    digits = folder[-HASH_DIGITS:]
    return folder.startswith(text) or bool(_HASH.fullmatch(digits) and digits.startswith(text))


def _checked(text: str, label: str, longest: int) -> str:
    if not isinstance(text, str):
        raise InputError(f"{label}: {text!r} is no text.", HOW)
    problem = _problem(text, longest)
    if problem:
        shown = text if len(text) <= 40 else f"{text[:40]}..."
        raise InputError(f"{label}: {shown!r} {problem}.", HOW)
    return text


def _problem(text: str, longest: int) -> str:
    """What keeps `text` from being one folder's name on every system; "" when nothing does."""
    if not text.strip():
        return "is empty"
    if len(text) > longest:
        return f"has {len(text)} characters, more than {longest}"
    if _DRIVE.match(text):
        return "begins with a drive letter"
    if text[0] in "/\\~":
        return "is an absolute path"
    if re.search(r"[/\\]", text):
        return "is a path, not one name"
    if not set(text) - {"."}:
        return "means a folder above or the same one"
    if not text.isascii():
        return "holds characters that are not ASCII"
    if not text.isprintable():
        return "holds control characters"
    if not _ALLOWED.fullmatch(text):
        wrong = sorted({sign for sign in text if not _ALLOWED.fullmatch("a" + sign)}) or [text[0]]
        return f"begins with {text[0]!r}" if wrong == [text[0]] else f"holds {' '.join(wrong)}"
    if text[-1] in ". ":
        return "ends with a dot or a space, which Windows drops"
    if text.split(".")[0].strip().upper() in _DEVICES:
        return "is the name of a device in Windows"
    return ""
