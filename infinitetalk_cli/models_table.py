"""The table of model files: where each one comes from, how large it is, its checksum, and which a profile needs.

models.json beside this file is the table of the pack; --table reads another of the same form. What is not known of a
file is null there and None here. Knows no network; touches no file but the table.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from infinitetalk.errors import InputError
from infinitetalk.sizes import size_text

TABLE = Path(__file__).with_name("models.json")
HUB = "https://huggingface.co"  # of the addresses that are shown; what is fetched comes from HF_ENDPOINT

_FORMS = {
    "role": re.compile(r".+"),
    "repository": re.compile(r"[\w.-]+/[\w.-]+"),
    "path": re.compile(r"[\w.-]+(/[\w.-]+)*"),
    "revision": re.compile(r"[\w.-]+"),
    "folder": re.compile(r"[\w.-]+(/[\w.-]+)*"),
    "sha256": re.compile(r"[0-9a-f]{64}"),
    "licence": re.compile(r".+"),
}
_OPTIONAL = ("size", "sha256", "licence")


@dataclass(frozen=True)
class ModelFile:
    """One file. path: in its repository; folder: below ComfyUI's models; size: bytes.

    Its name is that of the repository's file, so that ComfyUI's own download offers the same one.
    """

    role: str
    repository: str
    path: str
    folder: str
    revision: str = "main"
    size: int | None = None
    sha256: str | None = None
    licence: str | None = None

    @property
    def name(self) -> str:
        return PurePosixPath(self.path).name

    @property
    def place(self) -> str:
        """Where it goes, below the models folder."""
        return f"{self.folder}/{self.name}"

    @property
    def url(self) -> str:
        return f"{HUB}/{self.repository}/resolve/{self.revision}/{self.path}"


@dataclass(frozen=True)
class Profile:
    """Files that belong together: names of the table, and in a few words what they are."""

    about: str
    files: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """files: by their names; profiles: by what is typed."""

    files: dict[str, ModelFile]
    profiles: dict[str, Profile]

    def chosen(self, names: Iterable[str]) -> list[ModelFile]:
        """The files of profiles, and those named themselves, each once. InputError for a name of neither."""
        found: dict[str, ModelFile] = {}
        for name in names:
            if name not in self.profiles and name not in self.files:
                raise InputError(
                    f"{name!r} is neither a profile nor a file of the table.",
                    f"Profiles: {', '.join(self.profiles)}. `models list` names their files.",
                )
            members = self.profiles[name].files if name in self.profiles else (name,)
            found |= {member: self.files[member] for member in members}
        return list(found.values())


def load_table(path: Path = TABLE) -> Table:
    """Read a table. InputError, naming the file and the entry, for what is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"--table: {path} cannot be read ({error}).", f"Give JSON in the form of {TABLE}.") from error
    try:
        files = [_file(entry) for entry in content["files"]]
        table = {file.name: file for file in files}
        if len(table) < len(files):
            raise ValueError("two files have the same name")
        profiles = {name: _profile(name, entry, table) for name, entry in content["profiles"].items()}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        what = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise InputError(f"--table: {path}: {what}.", f"Give it the form of {TABLE}.") from error
    return Table(table, profiles)


def _file(entry: dict) -> ModelFile:
    unknown = set(entry) - {*_FORMS, "size"}
    if unknown:
        raise ValueError(f"{entry.get('path')}: unknown field {', '.join(sorted(unknown))}")
    for field, value in entry.items():
        if value is None and field in _OPTIONAL:
            continue
        if field == "size":
            fits = isinstance(value, int) and not isinstance(value, bool) and value > 0
        else:
            fits = isinstance(value, str) and _FORMS[field].fullmatch(value) and ".." not in value.split("/")
        if not fits:
            raise ValueError(f"{entry.get('path')}: {field} cannot be {value!r}")
    return ModelFile(**entry)


def _profile(name: str, entry: dict, files: dict[str, ModelFile]) -> Profile:
    for member in entry["files"]:
        if member not in files:
            raise ValueError(f"profile {name}: {member} is not among the files")
    return Profile(str(entry["about"]), tuple(entry["files"]))


def total_text(files: Iterable[ModelFile]) -> str:
    """The sum of the known sizes; says how many are not known."""
    sizes = [file.size for file in files]
    unknown = sizes.count(None)
    known = size_text(sum(size for size in sizes if size))
    return f"{known} and {unknown} of unknown size" if unknown else known
