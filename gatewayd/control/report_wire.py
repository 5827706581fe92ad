"""What the running daemon adds to a bug report, as it crosses the control socket."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final, Protocol

STATUS: Final = "status.json"
METRICS: Final = "metrics.prom"
STORE: Final = "store.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportDocument:
    """Parts of a report by their names, and of those that cannot be had the code."""

    parts: dict[str, str]
    absent: dict[str, str]

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return asdict(self)


class ReportSource(Protocol):
    """Whoever sees the daemon from inside."""

    async def report(self, report_id: str | None) -> ReportDocument:
        """Return what can be had now; the id, where one is given, goes into the log."""
