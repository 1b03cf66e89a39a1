"""`dev.py adapter`: a compact copy of an adapter file, by the Save Adapter node's own code, without a server.

python -m demo.adapter IN OUT FORMAT [overwrite]
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.inprocess import use_host


def main(source: Path, target: Path, form: str, overwrite: bool) -> int:
    use_host()
    from infinitetalk.errors import InputError
    from infinitetalk.host.save_adapter import compact_file

    try:
        if not source.is_file():
            raise InputError(f"IN: {source} is not a file.", "Give the path of an adapter file.")
        if target.suffix != ".safetensors":
            raise InputError(f"OUT: {target.name} does not end in .safetensors.", "Give it that ending.")
        if not target.parent.is_dir():
            raise InputError(f"OUT: there is no folder {target.parent}.", "Make it, or give another name.")
        if target.is_dir():
            raise InputError(f"OUT: {target} is a folder.", "Give the name of a file.")
        if target.exists() and not overwrite:
            raise InputError(f"OUT: {target} exists.", "Give another name, or add --overwrite.")
        print(compact_file(source, target, form))
    except InputError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], "overwrite" in sys.argv[4:]))
