"""Figures beside their goals, and the verdict a benchmark ends with. Knows no benchmark."""

from __future__ import annotations

import datetime
import platform
from dataclasses import dataclass, field


def machine() -> str:
    """The machine and the day, for the head of a report."""
    import torch

    name = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor() or platform.machine()
    return f"{name}, {torch.get_num_threads()} threads, torch {torch.__version__}, {datetime.date.today()}"


@dataclass
class Report:
    """Collects figures; `verdict` prints the last line and gives the exit status."""

    name: str
    missed: list[str] = field(default_factory=list)

    def __post_init__(self):
        print(f"{self.name} on {machine()}")

    def figure(self, label: str, value: float, unit: str, most: float | None = None) -> None:
        """Print one figure; `most` is the goal it must not exceed."""
        line = f"  {label:<44} {value:10.3f} {unit}"
        if most is not None:
            met = value <= most
            line += f"   goal: at most {most:g} {unit}: {'met' if met else 'MISSED'}"
            if not met:
                self.missed.append(label)
        print(line, flush=True)

    def verdict(self) -> int:
        print(f"{self.name}: missed {', '.join(self.missed)}" if self.missed else f"{self.name}: every goal is met")
        return 1 if self.missed else 0
