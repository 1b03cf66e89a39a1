"""The tables of docs/MODELS.md, written from the table of model files.

    python -m demo.model_docs

Run it after a change of infinitetalk_cli/models.json: it puts what stands between the two marks of the page anew.
"""

from __future__ import annotations

from pathlib import Path

from infinitetalk.sizes import size_text
from infinitetalk_cli.models_table import HUB, ModelFile, Table, load_table, total_text

PAGE = Path(__file__).resolve().parent.parent / "docs" / "MODELS.md"
BEGIN, END = "<!-- tables: python -m demo.model_docs -->", "<!-- end of the tables -->"
HEAD = "| for | folder below `models` | file | size | SHA-256 | from | licence |\n|---|---|---|---|---|---|---|"


def row(file: ModelFile, mark: str = "") -> str:
    """A file as a row of a table; what nobody knows is said so."""
    size = f"{size_text(file.size)} ({file.size:,} bytes)" if file.size else "as the hub tells"
    digest = f"`{file.sha256}`" if file.sha256 else "as the hub tells"
    home = f"[{file.repository}]({HUB}/{file.repository})"
    name = f"[`{file.name}`]({file.url})"
    return (
        f"| {file.role}{mark} | `{file.folder}` | {name} | {size} | {digest} | {home} | {file.licence or 'see there'} |"
    )


def tables(table: Table) -> str:
    """A section for each memory, its two profiles in one table, and one with the files of no profile."""
    sections, listed = [], set()
    for memory in dict.fromkeys(name.split("-")[0] for name in table.profiles):
        quality, fast = f"{memory}-quality", f"{memory}-4step"
        first, both = table.chosen([quality]), table.chosen([quality, fast])
        listed |= {file.name for file in both}
        rows = [row(file, "" if file in first else f" (`{fast}` only)") for file in both]
        about = table.profiles[quality].about
        title = f"### {memory.removesuffix('gb')} GB: `{quality}` and `{fast}`"
        sums = f"{total_text(first)}; with the LoRA {total_text(both)}"
        sections.append("\n".join([title, "", f"{about[0].upper()}{about[1:]}. {sums}.", "", HEAD, *rows]))
    others = [row(file) for file in table.files.values() if file.name not in listed]
    sections.append("\n".join(["### Other files of the table", "", HEAD, *others]))
    return "\n\n".join(sections)


def page(text: str, table: Table) -> str:
    """The page with its tables anew; what stands around them stays."""
    before, _, rest = text.partition(BEGIN)
    return f"{before}{BEGIN}\n\n{tables(table)}\n\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8"), load_table()), encoding="utf-8")
