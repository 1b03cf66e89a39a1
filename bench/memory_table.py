"""The rows of `bench memory` as a Markdown page's tables. Knows rows and text only."""

from __future__ import annotations

import json
from pathlib import Path

BEGIN, END = "<!-- measured: begin (bench memory writes this part) -->", "<!-- measured: end -->"
NAMES = {"bf16": "bf16", "fp8": "fp8", "int8": "int8, a scale for each row", "q4": "GGUF Q4_0, adapter fp8"}
HEAD = ("| weights | mode | cap | speakers | branches | settings | result | s per forward | against no cap | "
        "window, s | VAE, s | check against it | peak of torch, GiB | of the card | RAM |")  # fmt: skip


def key_of(row: dict) -> tuple:
    """What a row is of: another row of the same replaces it."""
    return tuple(
        row[name] for name in ("machine", "format", "asked", "by", "cap", "speakers", "branches", "settings", "frames")
    )


def read_rows(path: Path) -> list[dict]:
    """The rows of a file of lines, the last of each kind."""
    if not path.is_file():
        return []
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    return list({key_of(row): row for row in rows}.values())


def tables(rows: list[dict]) -> str:
    """One table for each machine."""
    text = []
    for machine in dict.fromkeys(row["machine"] for row in rows):
        ours = [row for row in rows if row["machine"] == machine]
        bare = {_group(row): row.get("forward_s") for row in ours if not row["cap"] and row["settings"] == ""}
        size = ours[0]
        text += [f"{machine}. {size['pixels']}x{size['pixels']}, {size['steps']} steps.", "", HEAD]
        text += ["|" + "---|" * (HEAD.count("|") - 1)]
        text += [_line(row, bare.get(_group(row))) for row in sorted(ours, key=_order)]
        text += [""]
    return "\n".join(text)


def write_page(path: Path, rows: list[dict]) -> None:
    """Put the tables into the marked part of a page; a page that is not there has only that part."""
    part = f"{BEGIN}\n\n{tables(rows)}\n{END}"
    text = path.read_text(encoding="utf-8") if path.is_file() else f"{BEGIN}\n{END}\n"
    before, _, rest = text.partition(BEGIN)
    path.write_text(before + part + rest.partition(END)[2], encoding="utf-8")


def line_of(row: dict) -> str:
    """A row as one line to be read by people and programs: name=value, blanks as _."""
    shown = {name: value for name, value in row.items() if value is not None and name not in ("machine", "pixels")}
    return "cell " + " ".join(f"{name}={_short(value)}" for name, value in shown.items())


def _short(value) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    return str(value).replace(" ", "_") or "-"


def _group(row: dict) -> tuple:
    return row["format"], row["asked"], row["by"], row["speakers"], row["branches"]


def _order(row: dict) -> tuple:
    return (*_group(row), -(row["cap"] or 1000), row["settings"])


def _line(row: dict, bare: float | None) -> str:
    spent = row.get("forward_s")
    ratio = f"{spent / bare:.2f}" if spent and bare and row["cap"] else "-"
    result = "finished" if row["finished"] else row["error"]
    settings = row["settings"] or "-"
    cells = [NAMES[row["format"]], row.get("mode") or row["asked"], _cap(row)]
    cells += [row["speakers"], row["branches"], settings, result, _number(spent, 2), ratio]
    cells += [_number(row.get("window_s"), 1), _number(row.get("vae_s"), 2), _number(_told(row), 2)]
    cells += [_number(row.get("allocated_gib"), 1), _number(row.get("card_gib"), 1), _number(row.get("ram_gib"), 1)]
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def _told(row: dict) -> float | None:
    """What the check says before loading against what the window then took, loading apart."""
    if not row.get("check_s") or not row.get("forward_s") or row["settings"]:
        return None
    return row["check_s"] / (row["steps"] * row["branches"] * row["forward_s"] + row["vae_s"])


def _cap(row: dict) -> str:
    if not row["cap"]:
        return "none"
    return f"{row['cap']} GB" + (" (reserve)" if row["by"] == "reserve" else "")


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
