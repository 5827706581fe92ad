"""What a report is made of: its parts, each there or with the reason why not, its id, and the file of both."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

PART_SIZE_MAX: Final = 1_048_576
"""Longest part, in bytes; the end of a longer one is kept, because the newest stands there."""


class AbsentError(Exception):
    """A part that cannot be had; its text says why and may be shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One file of a report, or why it is not in it."""

    name: str
    what: str
    """What it shows, for whoever decides whether to send it."""
    content: bytes = b""
    absent: str | None = None
    """Why it could not be had; None: it is there."""


def part(name: str, what: str, make: Callable[[], str | dict[str, Any]]) -> Part:
    """Return a part, whatever happens while it is made: a report is asked for where things are broken."""
    try:
        made = make()
    except AbsentError as error:
        return Part(name=name, what=what, absent=str(error))
    except Exception as error:  # noqa: BLE001 - one part that fails must not take the others along
        return Part(name=name, what=what, absent=f"a fault that nobody foresaw: {type(error).__name__}")
    text = made if isinstance(made, str) else json.dumps(made, indent=2)
    return Part(name=name, what=what, content=f"{text.rstrip()}\n".encode()[-PART_SIZE_MAX:])


def summary(about: str, parts: Sequence[Part]) -> str:
    """Return what is in it, one part a line, for people."""
    width = max(len(each.name) for each in parts)
    lines = [f"{each.name:<{width}}  {_said(each)}" for each in parts]
    return "\n".join([about, *lines])


def _said(each: Part) -> str:
    return f"{len(each.content):>8} bytes  {each.what}" if each.absent is None else f"not had: {each.absent}"


def file_name(report_id: str) -> str:
    """Return the name of a report's file."""
    return f"gatewayd-bugreport-{report_id}.tar.gz"


def packed(report_id: str, about: str, parts: Sequence[Part], *, utc_s: int) -> bytes:
    """Return the file: a gzip'd tar of one folder, nobody's files."""
    folder, tar = file_name(report_id).removesuffix(".tar.gz"), io.BytesIO()
    readme = Part(name="README.txt", what="", content=f"{summary(about, parts)}\n".encode())
    with tarfile.open(fileobj=tar, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for each in (readme, *parts):
            if each.absent is None:
                row = tarfile.TarInfo(f"{folder}/{each.name}")
                row.size, row.mode, row.mtime = len(each.content), 0o600, utc_s
                archive.addfile(row, io.BytesIO(each.content))
    return gzip.compress(tar.getvalue(), mtime=utc_s)
