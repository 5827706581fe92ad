"""What the demo prints: a line a scene with its time, then a table; or the same as one JSON document."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass, field
from enum import Enum, unique
from typing import TYPE_CHECKING, Any, Final, TextIO

from simulator.demo_promises import SENTENCES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from simulator.demo_promises import Broken, Ledger

_RESET: Final = "\x1b[0m"
_LABEL_WIDTH: Final = 34


@unique
class Colour(Enum):
    """SGR sequences."""

    GREEN = "\x1b[32m"
    RED = "\x1b[1;31m"
    CYAN = "\x1b[36m"
    BOLD = "\x1b[1m"
    DIM = "\x1b[2m"


def wants_colour(stream: TextIO) -> bool:
    """Tell whether colours are welcome there: on a terminal, unless NO_COLOR says otherwise."""
    return stream.isatty() and not os.environ.get("NO_COLOR")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """One line of the story."""

    step: int
    """1 to 6, 0 for the setting up."""
    at_ms: int
    """Since the story began; negative while it was set up."""
    text: str


@dataclass(slots=True)
class Summary:
    """What the end of the demo has to tell, beside the promises."""

    broker: str = ""
    mqtt: str = ""
    events: dict[str, int] = field(default_factory=dict)
    """By type, as the central log holds them."""
    refusals: dict[str, int] = field(default_factory=dict)
    """By dotted reason, as the central log holds them."""
    latencies_ms: dict[str, int] = field(default_factory=dict)
    receipts: dict[str, int] = field(default_factory=dict)
    """What they cover, by kind."""
    story_ms: int = 0


class Teller:
    """Prints the story as it happens; in JSON mode it keeps it for the end."""

    def __init__(self, *, as_json: bool, now_ms: Callable[[], int]) -> None:
        self.scenes: list[Scene] = []
        self._as_json = as_json
        self._now_ms = now_ms
        self._began_ms = now_ms()
        self._colours = wants_colour(sys.stdout)

    def begin(self) -> None:
        """Start the story's clock: what came before was setting up."""
        self._began_ms = self._now_ms()

    @property
    def elapsed_ms(self) -> int:
        """Milliseconds since the story began."""
        return self._now_ms() - self._began_ms

    def scene(self, step: int, text: str) -> None:
        """Tell one thing that has happened."""
        self.scenes.append(Scene(step=step, at_ms=self.elapsed_ms, text=text))
        number = self._coloured(Colour.CYAN, f"{step}" if step else "·")
        self._print(f"{self._stamp()} {number} {text}")

    def broken(self, broken: Broken) -> None:
        """Tell that a promise was broken."""
        name = self._coloured(Colour.RED, f"✗ {broken.promise}")
        self._print(f"{self._stamp()}   {name}: {SENTENCES[broken.promise]} — {broken.detail}")

    def fault(self, text: str) -> None:
        """Tell that the story could not go on as planned."""
        self._print(f"{self._stamp()}   {self._coloured(Colour.RED, text)}")

    def hint(self, text: str) -> None:
        """Tell something beside the story."""
        self._print(self._coloured(Colour.DIM, text))

    def finish(self, ledger: Ledger, summary: Summary) -> None:
        """Print the table, or the document."""
        if self._as_json:
            sys.stdout.write(json.dumps(document(ledger, summary, self.scenes), indent=2) + "\n")
        else:
            self._print_table(ledger, summary)
        sys.stdout.flush()

    def _print_table(self, ledger: Ledger, summary: Summary) -> None:
        self._print("")
        for title, rows, unit in (
            ("events at the central log", summary.events, ""),
            ("refusals by reason", summary.refusals, ""),
            ("latency", summary.latencies_ms, " ms"),
            ("receipts", summary.receipts, ""),
        ):
            self._print_rows(title, rows, unit)
        for promise, detail in ledger.broken.items():
            self._print(self._coloured(Colour.RED, f"broken: {promise}") + f" ({SENTENCES[promise]}): {detail}")
        for promise in ledger.missing:
            self._print(self._coloured(Colour.RED, f"not shown: {promise}") + f" ({SENTENCES[promise]})")
        kept = len(ledger.shown) - len(ledger.broken)
        verdict = f"{kept} of {len(SENTENCES)} promises held, {summary.broker}, MQTT {summary.mqtt}"
        seconds = f"{summary.story_ms / 1_000:.1f} s"
        self._print(self._coloured(Colour.GREEN if ledger.all_held else Colour.RED, f"{verdict}, {seconds}"))

    def _print_rows(self, title: str, rows: Mapping[str, int], unit: str) -> None:
        self._print(self._coloured(Colour.BOLD, title))
        for label, value in rows.items():
            self._print(f"  {label:<{_LABEL_WIDTH}} {value:>7}{unit}")

    def _stamp(self) -> str:
        return self._coloured(Colour.DIM, f"{self.elapsed_ms / 1_000:6.2f} s")

    def _coloured(self, colour: Colour, text: str) -> str:
        return f"{colour.value}{text}{_RESET}" if self._colours else text

    def _print(self, line: str) -> None:
        # Machines get one document on stdout; people may still watch on stderr.
        stream = sys.stderr if self._as_json else sys.stdout
        stream.write(line + "\n")
        stream.flush()


def document(ledger: Ledger, summary: Summary, scenes: list[Scene]) -> dict[str, Any]:
    """Return everything as JSON has it."""
    return {
        "held": ledger.all_held,
        "broker": summary.broker,
        "mqtt": summary.mqtt,
        "story_ms": summary.story_ms,
        "promises": {
            promise.value: {
                "held": promise in ledger.shown and promise not in ledger.broken,
                "sentence": sentence,
                "detail": ledger.broken.get(promise, "" if promise in ledger.shown else "not shown"),
            }
            for promise, sentence in SENTENCES.items()
        },
        "broken": [*ledger.broken, *ledger.missing],
        "events": summary.events,
        "refusals": summary.refusals,
        "latencies_ms": summary.latencies_ms,
        "receipts": summary.receipts,
        "scenes": [{"step": scene.step, "at_ms": scene.at_ms, "text": scene.text} for scene in scenes],
    }
