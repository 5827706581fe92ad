"""What is wrong with a configuration, said so that an installer can mend it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from gatewayd.errors import GatewayError
from gatewayd.plain_text import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

KeyPath: TypeAlias = tuple[str, ...]
"""`("mqtt", "port")` is the key `mqtt.port`."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value stands: a file and line, a variable, or a file without lines (a credential, a key)."""

    source: str
    line: int | None = None

    def __str__(self) -> str:
        """Return `file:line`, or the source alone."""
        return printable(self.source if self.line is None else f"{self.source}:{self.line}")


@dataclass(frozen=True, slots=True)
class ConfigProblem:
    """One mistake; its text is one line, `file:line: key: problem (hint)`."""

    where: Place
    key: str
    """Dotted; empty where a whole file is meant."""
    problem: str
    hint: str = ""

    def __str__(self) -> str:
        """Return the line that is shown."""
        text = ": ".join(part for part in (str(self.where), self.key, self.problem) if part)
        return printable(f"{text} ({self.hint})" if self.hint else text)


class ConfigError(GatewayError):
    """The configuration cannot work; restarting does not mend it."""

    def __init__(self, problems: Sequence[ConfigProblem]) -> None:
        super().__init__("config.invalid", "\n".join(map(str, problems)))
        self.problems = tuple(problems)


def dotted(path: Iterable[str | int]) -> str:
    """Return a key path as it is written: `mqtt.port`."""
    return ".".join(map(str, path))


def did_you_mean(name: str, known: Sequence[str]) -> str:
    """Return a hint for an unknown name: the nearest known one, or all of them."""
    import difflib  # noqa: PLC0415 - only a mistake needs it, and a start should not pay for it

    near = difflib.get_close_matches(name.lower(), known, n=1)
    return f"did you mean {near[0]}?" if near else f"known: {', '.join(sorted(known))}"
