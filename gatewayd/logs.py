"""What the daemon says: one event a line, with fields, on stderr. Never a secret, never a raw control character."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
import traceback
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal, TextIO

from gatewayd.plain_text import printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from structlog.typing import EventDict, Processor, WrappedLogger


@contextlib.contextmanager
def _absent(package: str) -> Iterator[None]:
    """Let imports inside find no such package; what has been imported before stays."""
    hidden = package not in sys.modules
    if hidden:
        sys.modules[package] = None  # type: ignore[assignment]  # the import system's documented word for "not there"
    try:
        yield
    finally:
        if hidden:
            del sys.modules[package]


# structlog takes rich along wherever it finds it, for consoles in colour. In a daemon that is 4 MiB for nothing.
with _absent("rich"):
    import structlog
    from structlog.tracebacks import ExceptionDictTransformer

DROPPED: Final = "(dropped)"
SECRET_WORDS: Final = (
    "credential",
    "passphrase",
    "password",
    "private",
    "psk",
    "secret",
    "seed",
    "signing_key",
    "token",
)
"""A field whose name holds one of these never shows its value."""
DEPTH_MAX: Final = 8
"""Deepest nesting of a field that is looked through."""
PRIORITIES: Final = MappingProxyType({"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2})
"""Levels as syslog numbers them; systemd reads them from `<n>` at the start of a line (sd-daemon(3))."""

Format = Literal["json", "console"]


def set_up(*, level: str, style: Format, journal: bool, stream: TextIO | None = None) -> None:
    """Send everything that is logged by us and by libraries to `stream`, stderr unless given.

    `journal`: the stream is read by systemd, so lines begin with their priority.
    """
    render = render_console if style == "console" else _JsonLines(with_priority=journal)
    threshold = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[*_common(style), render],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.WriteLoggerFactory(file=stream or sys.stderr),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(handlers=[_ToStructlog()], level=max(threshold, logging.WARNING), force=True)


def is_journal(environ: Mapping[str, str], descriptor: int) -> bool:
    """Tell whether a file descriptor leads to systemd's journal: $JOURNAL_STREAM names it by device and inode."""
    status = os.fstat(descriptor)
    return environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def _common(style: Format) -> list[Processor]:
    return [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        drop_secrets,
        # Tracebacks as data, without the values of local variables: those would be keys and names of people.
        *([] if style == "console" else [structlog.processors.ExceptionRenderer(_WITHOUT_LOCALS)]),
    ]


_WITHOUT_LOCALS: Final = ExceptionDictTransformer(show_locals=False)


def drop_secrets(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Replace the value of every field whose name says that it is a secret, at any depth."""
    return {
        key: value if key == "exc_info" else _without_secrets(key, value, DEPTH_MAX) for key, value in event.items()
    }


def _without_secrets(key: str, value: object, depth: int) -> object:
    if any(word in key.lower() for word in SECRET_WORDS):
        return DROPPED
    if isinstance(value, dict):
        return (
            {name: _without_secrets(str(name), inner, depth - 1) for name, inner in value.items()} if depth else DROPPED
        )
    if isinstance(value, list | tuple):
        return [_without_secrets("", inner, depth - 1) for inner in value] if depth else DROPPED
    if isinstance(value, bytes):
        return value.hex()
    return value


class _JsonLines:
    """One JSON object a line; what is not ASCII is escaped, so no foreign text reaches a terminal raw."""

    def __init__(self, *, with_priority: bool) -> None:
        self._with_priority = with_priority

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> str:
        level = str(event.get("level", "info"))
        line = json.dumps(event, default=str, separators=(",", ":"))
        return f"<{PRIORITIES.get(level, 6)}>{line}" if self._with_priority else line


def render_console(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    """Return a line for people, `time level event key=value …`, and a traceback below it."""
    fields = dict(event)
    error = fields.pop("exc_info", None)
    time, level, name = (str(fields.pop(key, "")) for key in ("timestamp", "level", "event"))
    rest = " ".join(f"{key}={value}" for key, value in fields.items())
    line = printable(f"{time[11:19]} {level:<7} {name} {rest}".rstrip())
    return line + "".join(f"\n    {printable(text)}" for text in _traceback_lines(error))


def _traceback_lines(exc_info: object) -> list[str]:
    error = sys.exc_info()[1] if exc_info is True else exc_info[1] if isinstance(exc_info, tuple) else exc_info
    return "".join(traceback.format_exception(error)).splitlines() if isinstance(error, BaseException) else []


class _ToStructlog(logging.Handler):
    """What libraries log through the standard library comes out in the same form."""

    def emit(self, record: logging.LogRecord) -> None:
        """Say it again as `library.logged`."""
        fields: Mapping[str, Any] = {"library": record.name, "message": record.getMessage()}
        level = record.levelno if record.levelno in _LEVELS else logging.WARNING
        structlog.get_logger().log(level, "library.logged", exc_info=record.exc_info, **fields)


_LEVELS: Final = frozenset({logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL})
