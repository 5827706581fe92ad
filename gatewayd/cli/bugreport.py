"""`gatewayd bugreport`: a file for support, with nobody's name, key or visit in it."""

from __future__ import annotations

import contextlib
import os
import re
import syslog
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import Parameter

from gatewayd import exits
from gatewayd.bugreport.contents import AbsentError, Part, file_name, packed, part, summary
from gatewayd.bugreport.machine import adapters, room, service, versions
from gatewayd.bugreport.service_log import service_log
from gatewayd.bugreport.settings_view import settings_view
from gatewayd.bugreport.words import Words
from gatewayd.cli.new_file import write_new
from gatewayd.cli.say import DEFAULT_CONFIG, give, give_json, tell
from gatewayd.config.loader import load, load_folders
from gatewayd.config.model import GatewaySection
from gatewayd.config.problems import ConfigError
from gatewayd.config.values import SOCKET_NAME, STORE_NAME
from gatewayd.control.client import ControlClient
from gatewayd.control.messages import ControlCode, ControlError
from gatewayd.control.report_wire import METRICS, STATUS, STORE, ReportDocument
from gatewayd.errors import GatewayError
from gatewayd.plain_text import printable
from gatewayd.report_id import new_id
from gatewayd.store.counts import count_file
from gatewayd.system_clock import SystemClock, SystemEntropy

if TYPE_CHECKING:
    from collections.abc import Sequence

_ID: Final = re.compile('(?<=")[0-9a-f]{16}(?=")')
FROM_DAEMON: Final = {
    STATUS: "gateway, locks, broker, outbox, clock and rights, as `gatewayd status` shows them",
    METRICS: "the same for monitoring, and what came from the broker and went no further",
    STORE: "how much the store holds, and whether it is whole",
}
"""In order; each with what it shows."""


def bugreport(
    *,
    config: Path = DEFAULT_CONFIG,
    output: Path | None = None,
    list_: Annotated[bool, Parameter(name="--list")] = False,
    json: bool = False,
) -> int:
    """Write a file for support: how gateway, service, store and machine do, with nobody's name, key or visit in it.

    The daemon may run, be stopped, or not start at all: what cannot be had is said in the file. Read its id to support
    over the telephone; the same stands in the file's name and in the journal. Exits 0, or 1 where it cannot be written.

    Args:
        config: The configuration file; it may be wrong.
        output: Where to write it: a new file, or a folder; the current folder unless given.
        list_: Say what would be in it, and how large; write nothing.
        json: Print for machines what is in it.
    """
    report_id = "" if list_ else new_id(SystemEntropy())
    gateway_id, parts = _parts(config, report_id or None)
    about = _about(report_id, gateway_id)
    if list_:
        give_json({"parts": _rows(parts)}) if json else give(summary(about, parts))
        return exits.OK
    path = Path() if output is None else output
    path = path / file_name(report_id) if path.is_dir() else path
    try:
        write_new(path, [packed(report_id, about, parts, utc_s=SystemClock().now().utc_ms // 1_000)])
    except OSError as error:
        tell(printable(f"gatewayd: {error.filename}: {error.strerror}"))
        return exits.FAILED
    if json:
        give_json({"id": report_id, "file": str(path), "size": path.stat().st_size, "parts": _rows(parts)})
    else:
        give(summary(about, parts))
        give(printable(f"written to {path}"))
    return exits.OK


def _about(report_id: str, gateway_id: str | None) -> str:
    of = f" of gateway {gateway_id or 'unknown: neither daemon nor configuration tells'}"
    return f"bug report {report_id}{of}" if report_id else f"a bug report{of} would hold:"


def _rows(parts: Sequence[Part]) -> list[dict[str, Any]]:
    return [{"name": each.name, "size": len(each.content), "absent": each.absent} for each in parts]


def _parts(config: Path, report_id: str | None) -> tuple[str | None, list[Part]]:
    store_path, control_path = _folders(config)
    seen = _from_daemon(control_path, report_id) or _from_store(store_path, report_id)
    gateway_id = _gateway_id(config, seen)
    words = Words.of_program({*_locks(seen), *([] if gateway_id is None else [gateway_id])})
    return gateway_id, [
        part("versions.json", "what is installed", versions),
        part("settings.txt", "what is set, and what is wrong with it; of a text only that it is set",
             lambda: settings_view(config, os.environ, words)),
        part("service.txt", "how systemd sees gatewayd and bluetooth", service),
        part("machine.json", "memory, disk, and for how long it is up", lambda: room(store_path.parent)),
        part("radio.json", "Bluetooth adapters, and whether something switches them off", adapters),
        *seen,
        part("files.json", "the store's files and their sizes", lambda: _files(store_path, words)),
        part("journal.jsonl", "the newest lines of the service's log, as far as their words are the program's own",
             lambda: service_log(words)),
    ]  # fmt: skip


def _folders(config: Path) -> tuple[Path, Path]:
    """Return store and control socket; of a configuration that cannot be read, where they usually are."""
    try:
        folders = load_folders(config)
    except ConfigError:
        usual = GatewaySection()
        return usual.state_directory / STORE_NAME, usual.runtime_directory / SOCKET_NAME
    return folders.store_path, folders.control_path


def _from_daemon(control_path: Path, report_id: str | None) -> list[Part]:
    """Return the parts that the running daemon makes; none where nobody listens."""
    try:
        with ControlClient(control_path) as client:
            document = client.bugreport(report_id)
    except ControlError as error:
        if error.code == ControlCode.UNREACHABLE:
            return []
        document = ReportDocument(parts={}, absent=dict.fromkeys(FROM_DAEMON, str(error.code)))
    return [part(name, what, partial(_given, document, name)) for name, what in FROM_DAEMON.items()]


def _given(document: ReportDocument, name: str) -> str:
    if name not in document.parts:
        raise AbsentError(f"the daemon says {document.absent.get(name, ControlCode.MALFORMED.value)}")
    return document.parts[name]


def _from_store(store_path: Path, report_id: str | None) -> list[Part]:
    if report_id is not None:  # the daemon, which would have written it down, does not run
        syslog.syslog(syslog.LOG_INFO, f"gatewayd bugreport.made {report_id}")
    silent = "the daemon does not answer: it is stopped, or hangs"
    absent = [Part(name=name, what=FROM_DAEMON[name], absent=silent) for name in (STATUS, METRICS)]
    return [*absent, part(STORE, FROM_DAEMON[STORE], lambda: _counted(store_path))]


def _counted(store_path: Path) -> dict[str, Any]:
    try:
        return asdict(count_file(store_path))
    except GatewayError as error:
        raise AbsentError(str(error.code)) from None


def _gateway_id(config: Path, parts: Sequence[Part]) -> str | None:
    with contextlib.suppress(ConfigError):
        return load(config).identity().gateway_id.hex()
    return next((found for found in _ids(parts, "gateway_id")), None)


def _locks(parts: Sequence[Part]) -> list[str]:
    """Return the ids of the locks, which `gatewayd status` shows: these may stand in the report, and no other."""
    return _ids(parts, "lock_id") + _ids(parts, "locks")


def _ids(parts: Sequence[Part], field: str) -> list[str]:
    text = "".join(each.content.decode() for each in parts if each.name in {STATUS, STORE})
    return [
        found for values in re.findall(rf'"{field}": (\[[^]{{}}]*\]|"[^"]*")', text) for found in _ID.findall(values)
    ]


def _files(store_path: Path, words: Words) -> dict[str, Any]:
    try:
        found = sorted(store_path.parent.glob(f"{store_path.name}*"))
        return {words.text(each.name): each.lstat().st_size for each in found}
    except OSError as error:
        raise AbsentError(error.strerror) from None
