"""python -m infinitetalk_cli.models: which model files a card needs, fetching them, and whether they are whole.

    models list [--profile PROFILE]
    models get PROFILE [FILE ...] [--to DIR]
    models verify PROFILE [FILE ...] [--to DIR]

`dev.py models` is the same. Exit codes: 0 done, 1 refused or something is missing or damaged, 130 cancelled.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
from collections import defaultdict
from pathlib import Path

from infinitetalk.disk import publish, write_whole
from infinitetalk.errors import InputError

from . import hub
from .host import find_comfyui
from .models_check import DAMAGED, FROM_HUB, FROM_TABLE, MISSING, OK, expected, inspect, record_path, sha256_of
from .models_table import TABLE, ModelFile, Table, load_table, size_text, total_text


def say(text: str) -> None:
    print(text, flush=True)


# ---------------------------------------------------------------- list


def show(table: Table, profile: str | None) -> int:
    """All profiles in a line each, or the files of one."""
    if not profile:
        for name, entry in table.profiles.items():
            files = table.chosen([name])
            say(f"{name:<14}{len(files)} files  {total_text(files)}  {entry.about}")
        return 0
    files = table.chosen([profile])
    for file in files:
        size = f"{size_text(file.size)} ({file.size:,} bytes)" if file.size else "size: as the hub tells"
        say(f"{file.place}\n    {file.role}, {file.licence or 'licence: see there'}\n    {file.url}")
        say(f"    {size}, sha256 {file.sha256 or 'as the hub tells'}")
    say(f"{len(files)} files, {total_text(files)}")
    return 0


# ---------------------------------------------------------------- get


def get(table: Table, names: list[str], folder: Path) -> int:
    """Fetch what is missing. Everything that can be refused is refused before the first byte is fetched."""
    files = table.chosen(names)
    missing = [file for file in files if not is_there(file, folder)]
    remotes = {file: agreed(file) for file in missing}
    check_space(remotes, folder)
    for number, (file, remote) in enumerate(remotes.items(), 1):
        say(f"{number} of {len(missing)}: {file.place}, {size_text(remote.size)}")
        obtain(file, remote, folder / file.place)
    say(f"{len(files)} files are in {folder}: {len(missing)} fetched, {len(files) - len(missing)} were there.")
    return 0


def is_there(file: ModelFile, folder: Path) -> bool:
    """Whether a whole file lies in its place. InputError for another one of its name, which stays untouched."""
    finding = inspect(file, folder)
    if finding.state == OK:
        say(f"is there: {file.place} ({finding.detail})")
    elif finding.state != MISSING:
        raise InputError(f"{folder / file.place}: {finding.detail}.", "Move it away or remove it, then run this again.")
    return finding.state == OK


def agreed(file: ModelFile) -> hub.Remote:
    """What the hub says of a file. InputError where the table says otherwise, before anything is fetched."""
    remote = hub.look(file.repository, file.path, file.revision)
    for what, ours, theirs in (("bytes", file.size, remote.size), ("SHA-256", file.sha256, remote.sha256)):
        if None not in (ours, theirs) and ours != theirs:
            raise InputError(
                f"{file.repository}: {file.path}: {hub.constants.ENDPOINT} offers {what} {theirs}, the table says {ours}.",
                "The file there is another one than this pack was written for. Look for a newer version of the pack, "
                "give a corrected table with --table, or try without HF_ENDPOINT.",
            )
    return remote


def check_space(remotes: dict[ModelFile, hub.Remote], folder: Path) -> None:
    """InputError when a disk has less room than what is still to come to it; folders of models may be on several."""
    needed, places = defaultdict(int), {}
    for file, remote in remotes.items():
        target = folder / file.place
        there = next(parent for parent in target.parents if parent.exists())
        disk = there.stat().st_dev
        needed[disk] += remote.size - min(hub.arrived(hub.part_path(target, remote)), remote.size)
        places[disk] = there
    for disk, place in places.items():
        free = shutil.disk_usage(place).free
        if free < needed[disk]:
            raise InputError(
                f"{place}: {size_text(free)} left on the disk, {size_text(needed[disk])} are to be fetched.",
                "Free some space, choose a smaller profile, or give a folder on another disk with --to.",
            )


def obtain(file: ModelFile, remote: hub.Remote, target: Path) -> None:
    """Fetch one file; it has its name only when it is whole and its checksum is right."""
    part = hub.part_path(target, remote)
    target.parent.mkdir(parents=True, exist_ok=True)
    for other in target.parent.glob(f"{target.name}.*.part"):
        if other != part:
            other.unlink()  # of another version of the file
    hub.fetch(remote, part, file.name)
    digest = sha256_of(part)
    wanted, source = (file.sha256, FROM_TABLE) if file.sha256 else (remote.sha256, FROM_HUB)
    if wanted and digest != wanted:
        part.unlink()
        raise InputError(
            f"{file.place}: what {hub.constants.ENDPOINT} sent has SHA-256 {digest}; by {source} it is {wanted}.",
            f"It was removed. Run the same command again; if it stays so, another file is served. {hub.MIRROR}",
        )
    if not file.sha256:
        write_whole(record_path(target), f"{digest}  {file.name}\n".encode())
    publish(part, target)


# ---------------------------------------------------------------- verify


def verify(table: Table, names: list[str], folder: Path) -> int:
    """A line for each file; 1 unless all of them are whole."""
    findings = {}
    for file in table.chosen(names):
        findings[file] = finding = inspect(file, folder)
        say(f"{finding.state:<10}{file.place}  {finding.detail}")
    states = [finding.state for finding in findings.values()]
    bad = [f"{states.count(state)} {state}" for state in dict.fromkeys(states) if state != OK]
    say(f"{states.count(OK)} of {len(states)} files are whole" + "".join(f", {text}" for text in bad))
    return 1 if bad else 0


# ---------------------------------------------------------------- command line


class Parser(argparse.ArgumentParser):
    """Says what is wrong in two lines, as every other refusal."""

    def error(self, message: str):
        raise InputError(message, f"See {self.prog} --help.")


def parse(arguments: list[str]) -> argparse.Namespace:
    usage = "\n".join(__doc__.split("\n\n")[1:2])
    parser = Parser("models", usage=usage.strip(), allow_abbrev=False)
    common = Parser(add_help=False)
    common.add_argument("--table", type=Path, default=TABLE, metavar="FILE.json", help="another table of the same form")
    place = Parser(add_help=False)
    place.add_argument("names", nargs="+", metavar="PROFILE", help="of `models list`; also the name of a single file")
    place.add_argument("--to", type=Path, metavar="DIR", help="ComfyUI's models folder")
    place.add_argument("--comfyui", metavar="DIR", help="the ComfyUI whose models folder it is")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION", parser_class=Parser)
    listing = actions.add_parser("list", parents=[common], help="profiles, or the files of one", allow_abbrev=False)
    listing.add_argument("--profile", metavar="PROFILE")
    actions.add_parser("get", parents=[common, place], help="fetch what is missing", allow_abbrev=False)
    actions.add_parser("verify", parents=[common, place], help="are they whole", allow_abbrev=False)
    return parser.parse_args(arguments)


def models_folder(options: argparse.Namespace, default: Path | None) -> Path:
    """--to, the models folder of the ComfyUI that is named, `default`, or of the ComfyUI this pack is installed in."""
    if options.to:
        if not options.to.is_dir():
            raise InputError(f"--to: there is no folder {options.to}.", "Give ComfyUI's models folder, or make it.")
        return options.to
    if default and not options.comfyui:
        default.mkdir(parents=True, exist_ok=True)
        return default
    try:
        return find_comfyui(options) / "models"
    except InputError:
        if options.comfyui or os.environ.get("COMFYUI_PATH"):
            raise
        raise InputError(
            "--to: no models folder is given and this pack is in no ComfyUI.", "Give --to DIR or --comfyui DIR."
        ) from None


def main(arguments: list[str], default: Path | None = None) -> int:
    """default: the models folder where the command line names none."""
    try:
        options = parse(arguments)
        table = load_table(options.table)
        if options.action == "list":
            return show(table, options.profile)
        action = {"get": get, "verify": verify}[options.action]
        return action(table, options.names, models_folder(options, default))
    except InputError as error:
        print(f"models: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Cancelled. The same command goes on from here.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main(sys.argv[1:]))
