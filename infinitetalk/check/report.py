"""What a check found: lines that tell, and findings with one remedy each. Knows no workflow and no host."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ..errors import InputError

PROBLEM, WARNING = "problem", "warning"


@dataclass(frozen=True)
class Finding:
    """what: which input and which numbers; remedy: what to do. level: PROBLEM cannot work, WARNING works badly."""

    level: str
    what: str
    remedy: str

    def __str__(self):
        return f"{self.level.capitalize()}: {self.what}\n  -> {self.remedy}"


@dataclass
class Report:
    """Grows while a workflow is looked at. sections: title -> lines."""

    sections: dict[str, list[str]] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    def tell(self, section: str, line: str) -> None:
        """Add a line; one that stands there already is not said twice."""
        lines = self.sections.setdefault(section, [])
        if line not in lines:
            lines.append(line)

    def problem(self, what: str, remedy: str) -> None:
        self._find(Finding(PROBLEM, what, remedy))

    def warn(self, what: str, remedy: str) -> None:
        self._find(Finding(WARNING, what, remedy))

    def attempt(self, check: Callable[..., Any], *values: Any) -> Any:
        """What the check returns, or None and a problem for its InputError."""
        try:
            return check(*values)
        except InputError as error:
            self.problem(error.problem, error.remedy)
            return None

    def add(self, other: Report, before: str = "") -> None:
        """Another report's lines and findings; before: put before titles, and before findings that do not begin so."""
        for title, lines in other.sections.items():
            for line in lines:
                self.tell(f"{before}{title}", line)
        heard = self.at(before.removesuffix(": "))
        for finding in other.findings:
            (heard.problem if finding.level == PROBLEM else heard.warn)(finding.what, finding.remedy)

    def unless(self, doubtful: bool) -> Report:
        """Itself, or one into the same findings that warns where this one would find a problem."""
        return _View(self.sections, self.findings, self, doubtful=True) if doubtful else self

    def at(self, title: str) -> Report:
        """One into the same findings that puts a title before those that do not begin with it; itself for no title."""
        return _View(self.sections, self.findings, self, title=title) if title else self

    @property
    def problems(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.level == PROBLEM]

    def text(self) -> str:
        """All of it for people: the verdict, the findings, the sections."""
        problems, warnings = len(self.problems), len(self.findings) - len(self.problems)
        verdict = f"{_count(problems, 'problem')}, {_count(warnings, 'warning')}" if self.findings else "All fits."
        parts = [verdict, *(str(finding) for finding in self.findings)]
        parts += ["\n".join([f"{title}:", *(f"  {line}" for line in lines)]) for title, lines in self.sections.items()]
        return "\n\n".join(parts)

    def refuse(self) -> None:
        """Raise an InputError for the first problem, if there is one; it says how many more there are."""
        if not self.problems:
            return
        first, more = self.problems[0], self.problems[1:]
        rest = " ".join(f"[{n}] {finding.what} {finding.remedy}" for n, finding in enumerate(more, 2))
        raise InputError(first.what, first.remedy + (f" {_count(len(more), 'more problem')}: {rest}" if more else ""))

    def _find(self, finding: Finding) -> None:
        if finding not in self.findings:
            self.findings.append(finding)


@dataclass
class _View(Report):
    """Tells another report what it finds, in other words. `of` is that report; the lists are its own."""

    of: Report | None = None
    doubtful: bool = False
    title: str = ""

    def problem(self, what: str, remedy: str) -> None:
        (self.of.warn if self.doubtful else self.of.problem)(self._titled(what), remedy)

    def warn(self, what: str, remedy: str) -> None:
        self.of.warn(self._titled(what), remedy)

    def _titled(self, what: str) -> str:
        return what if not self.title or what.startswith(self.title) else f"{self.title}: {what}"


def _count(number: int, word: str) -> str:
    return f"{number or 'no'} {word}{'' if number == 1 else 's'}"
