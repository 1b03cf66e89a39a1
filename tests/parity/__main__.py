"""`python -m tests.parity DIR`: recompute every golden file of a folder and print one line per case."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from .registry import load_cases, run_file, short


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0 when at least one case ran and all passed, else 1."""
    parser = argparse.ArgumentParser(prog="parity", description="Recompute golden files with the library.")
    parser.add_argument("directory", type=Path, help="folder with *.safetensors golden files")
    directory = parser.parse_args(arguments).directory
    files = sorted(directory.glob("*.safetensors"))
    if not files:
        print(f"{directory} holds no *.safetensors files.\nGive the folder with the golden files.", file=sys.stderr)
        return 1
    registry = load_cases()
    for module, problem in registry.broken.items():
        print(f"{module}.py could not be imported: {short(problem)}")
    passed = failed = 0
    for file in files:
        for result in run_file(file, registry):
            print(result.line, flush=True)
            passed, failed = passed + result.ok, failed + (not result.ok)
    print(f"{passed} passed, {failed} failed")
    return 0 if passed and not failed else 1


if __name__ == "__main__":
    sys.exit(main())
