"""python -m infinitetalk_cli.models: which model files a card needs, fetching them, and whether they are whole.

    models list [PROFILE ...]
    models get PROFILE [FILE ...] [--to DIR]
    models verify PROFILE [FILE ...] [--to DIR]

`dev.py models` is the same. Only `get`, and `verify` where nothing but the hub knows a checksum, need a package:
huggingface_hub, which ComfyUI's Python has. Exit codes: 0 done, 1 refused or something is missing or damaged, 130
cancelled.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path

from infinitetalk.errors import InputError
from infinitetalk.sizes import size_text

from .host import find_comfyui
from .models_check import OK, UNKNOWN, Finding, inspect
from .models_table import TABLE, Table, load_table, total_text
from .packages import needed


def show(table: Table, names: list[str]) -> int:
    """All profiles in a line each, or the files of those that are named."""
    if not names:
        for name, entry in table.profiles.items():
            files = table.chosen([name])
            print(f"{name:<14}{len(files)} files  {total_text(files)}  {entry.about}")
        return 0
    files = table.chosen(names)
    for file in files:
        size = f"{size_text(file.size)} ({file.size:,} bytes)" if file.size else "size: as the hub tells"
        print(f"{file.place}\n    {file.role}, {file.licence or 'licence: see there'}\n    {file.url}")
        print(f"    {size}, sha256 {file.sha256 or 'as the hub tells'}")
    print(f"{len(files)} files, {total_text(files)}")
    return 0


def verify(table: Table, names: list[str], folder: Path) -> int:
    """A line for each file; 1 unless all of them are whole."""
    states = []
    for file in table.chosen(names):
        try:
            finding = inspect(file, folder)
        except InputError as error:
            finding = Finding(UNKNOWN, f"there is no checksum to compare it with: {error.problem}")
        states.append(finding.state)
        print(f"{finding.state:<10}{file.place}  {finding.detail}".rstrip(), flush=True)
    bad = [f"{states.count(state)} {state}" for state in dict.fromkeys(states) if state != OK]
    print(f"{states.count(OK)} of {len(states)} files are whole" + "".join(f", {text}" for text in bad))
    return 1 if bad else 0


class Parser(argparse.ArgumentParser):
    """Says what is wrong in two lines, as every other refusal."""

    def error(self, message: str):
        raise InputError(message, f"See {self.prog} --help.")


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = Parser("models", usage=__doc__.split("\n\n")[1].strip(), allow_abbrev=False)
    common = Parser(add_help=False)
    common.add_argument("--table", type=Path, default=TABLE, metavar="FILE.json", help="another table of the same form")
    place = Parser(add_help=False)
    place.add_argument("names", nargs="+", metavar="PROFILE", help="of `models list`; also the name of a single file")
    place.add_argument("--to", metavar="DIR", help="ComfyUI's models folder")
    place.add_argument("--comfyui", metavar="DIR", help="the ComfyUI whose models folder it is")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION", parser_class=Parser, prog="models")
    listing = actions.add_parser("list", parents=[common], help="profiles, or the files of some", allow_abbrev=False)
    listing.add_argument("names", nargs="*", metavar="PROFILE", help="show its files; also the name of a single file")
    actions.add_parser("get", parents=[common, place], help="fetch what is missing", allow_abbrev=False)
    actions.add_parser("verify", parents=[common, place], help="are they whole", allow_abbrev=False)
    return parser.parse_args(arguments)


def models_folder(options: argparse.Namespace, default: Path | None) -> Path:
    """--to, the models folder of the ComfyUI that is named, `default`, or of the ComfyUI this pack is installed in."""
    if options.to is not None:
        folder = Path(options.to)
        if not options.to or not folder.is_dir():
            what = f"{folder} is a file" if folder.is_file() else f"there is no folder {options.to!r}"
            raise InputError(f"--to: {what}.", "Give ComfyUI's models folder, or make it.")
        return folder
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
            return show(table, options.names)
        folder = models_folder(options, default)
        if options.action == "verify":
            return verify(table, options.names, folder)
        with needed():
            from .models_get import get
        return get(table, options.names, folder)
    except (InputError, OSError) as error:
        print(f"models: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Cancelled. The same command goes on from here.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main(sys.argv[1:]))
