"""What a bench hands back: a figure beside the floor that was measured in the same run, and the bar between them."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class BenchError(Exception):
    """A bench could not be measured: neither a hit nor a miss."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table. A row without any bar is for information and always held."""

    name: str
    unit: str
    floor: float
    """The physical or foreign least, measured in the same run, in `unit`."""
    figure: float
    """What gatewayd reached, in `unit`."""
    ratio_max: float | None = None
    """Largest figure/floor allowed: for costs."""
    ratio_min: float | None = None
    """Smallest figure/floor allowed: for throughputs."""
    figure_max: float | None = None
    """Largest figure allowed whatever the floor is, in `unit`."""

    @property
    def ratio(self) -> float:
        """Figure in units of the floor."""
        return self.figure / self.floor if self.floor else float("inf")

    @property
    def held(self) -> bool:
        """Whether every bar of the row is kept; a figure exactly on its bar is."""
        return (
            (self.ratio_max is None or self.ratio <= self.ratio_max)
            and (self.ratio_min is None or self.ratio >= self.ratio_min)
            and (self.figure_max is None or self.figure <= self.figure_max)
        )

    @property
    def bar(self) -> str:
        """The bars in words."""
        bars = []
        if self.ratio_max is not None:
            bars.append(f"≤ {self.ratio_max:g} x")
        if self.ratio_min is not None:
            bars.append(f"≥ {self.ratio_min:g} x")
        if self.figure_max is not None:
            bars.append(f"≤ {self.figure_max:g} {self.unit}")
        return ", ".join(bars) or "-"

    def as_json(self) -> dict[str, object]:
        """The row for machines."""
        return {
            "name": self.name,
            "unit": self.unit,
            "floor": self.floor,
            "figure": self.figure,
            "ratio": self.ratio,
            "ratio_max": self.ratio_max,
            "ratio_min": self.ratio_min,
            "figure_max": self.figure_max,
            "held": self.held,
        }


def median(values: Sequence[float]) -> float:
    """The middle of several runs: one slow run on a shared machine moves it little."""
    if not values:
        raise BenchError("no run was measured")
    return statistics.median(values)


def percentile(values: Sequence[float], percent: int) -> float:
    """The value that `percent` of the runs (1 to 99) do not exceed."""
    if len(values) < 2:
        raise BenchError("a percentile needs at least two runs")
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def table(rows: Sequence[Row]) -> str:
    """All rows as text, columns aligned, misses marked."""
    head = ("what", "unit", "floor", "figure", "ratio", "bar", "")
    lines = [head] + [
        (
            row.name,
            row.unit,
            f"{row.floor:.3g}",
            f"{row.figure:.3g}",
            f"{row.ratio:.2f}",
            row.bar,
            "" if row.held else "MISS",
        )
        for row in rows
    ]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )
