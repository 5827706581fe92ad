"""The daemon's end of the control socket: only this machine, only the right users, nothing that moves a bolt."""

from __future__ import annotations

import asyncio
import base64
import os
import re
import socket
import stat
import struct
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final, TypeGuard

import structlog

from firmware_protocol.vocabulary import HASH_SIZE
from gatewayd.control import log_wire
from gatewayd.control.messages import (
    ANSWER_SIZE_MAX,
    CHECKPOINT_PAGE_COUNT,
    ERASE_COUNT_MAX,
    ERRAND_SIZE_MAX,
    PAGE_COUNT_MAX,
    PAGE_SIZE_MAX,
    REQUEST_SIZE_MAX,
    VERSION,
    ControlCode,
    ControlError,
    from_line,
    refusal,
    to_line,
)
from gatewayd.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gatewayd.control.grants_wire import RightsSource
    from gatewayd.control.messages import Eraser, ErrandSource, ExplanationSource, LogSource, StatusSource
    from gatewayd.control.report_wire import ReportSource

SOCKET_MODE: Final = 0o660
CONNECTION_COUNT_MAX: Final = 8
"""Most askers at once."""
SILENCE_S_MAX: Final = 30
"""Longest wait for a request, or for an asker to take an answer."""
INDEX_MAX: Final = 2**63 - 1
REPORT_ID: Final = re.compile("[0-9A-Z]{4}-[0-9A-Z]{4}")
ERRANDS: Final = ("pair", "decommission")

_PEER_CREDENTIALS: Final = struct.Struct("3i")  # struct ucred of unix(7): pid, uid, gid

_log = structlog.get_logger()


class ControlServer:
    """Answers on one socket from `open` to `close`."""

    def __init__(  # noqa: PLR0913 - everybody who can answer
        self,
        path: Path,
        *,
        status: StatusSource,
        journal: LogSource,
        explainer: ExplanationSource | None = None,
        rights: RightsSource | None = None,
        eraser: Eraser | None = None,
        errands: Callable[[], ErrandSource] | None = None,
        reports: Callable[[], ReportSource] | None = None,
    ) -> None:
        """Do nothing yet; what there is no source for is not answered. `errands` is called once, at the first one."""
        self._path = path
        self._status = status
        self._journal = journal
        self._explainer = explainer
        self._rights = rights
        self._eraser = eraser
        self._make_errands = errands
        self._make_reports = reports
        self._errands: ErrandSource | None = None
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Begin to listen; a socket that a killed daemon left behind is replaced.

        Raises:
            ControlError: IN_USE, another daemon answers there; UNREACHABLE, the socket cannot be made.
        """
        try:
            self._path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
            _remove_left_behind(self._path)
            self._server = await asyncio.start_unix_server(self._connected, self._path, limit=ERRAND_SIZE_MAX)
            self._path.chmod(SOCKET_MODE)
        except OSError as error:
            raise ControlError(ControlCode.UNREACHABLE, f"{self._path}: {error.strerror or error}") from error

    async def close(self) -> None:
        """Stop listening, drop who is connected, and remove the socket."""
        if self._server is None:
            return
        self._server.close()
        for task in self._connections:
            task.cancel()
        if self._connections:
            await asyncio.wait(self._connections)
        self._path.unlink(missing_ok=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._connections.add(task)
            task.add_done_callback(self._connections.discard)
        try:
            await self._answer_all(reader, writer, uid=self._admit(writer))
        except ControlError as error:
            writer.write(to_line(refusal(error)))
        except (OSError, TimeoutError):
            pass  # the asker has gone, or says nothing; a fault in an answer was told in `_answer`
        finally:
            writer.close()

    def _admit(self, writer: asyncio.StreamWriter) -> int:
        """Return the peer's user id.

        Raises:
            ControlError: BUSY, NOT_PERMITTED.
        """
        if len(self._connections) > CONNECTION_COUNT_MAX:
            raise ControlError(ControlCode.BUSY, f"{CONNECTION_COUNT_MAX} are connected already")
        peer: socket.socket = writer.get_extra_info("socket")
        raw = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER_CREDENTIALS.size)
        _, uid, gid = _PEER_CREDENTIALS.unpack(raw)
        if not is_permitted(uid, gid):
            _log.warning("control.refused", uid=uid, gid=gid)
            raise ControlError(
                ControlCode.NOT_PERMITTED, f"uid {uid} is neither root nor of the daemon's user or group"
            )
        return int(uid)

    async def _answer_all(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, uid: int) -> None:
        while True:
            async with asyncio.timeout(SILENCE_S_MAX):
                line = await _next_line(reader)
            if not line:
                return
            writer.write(await self._answer(line, uid, writer))
            async with asyncio.timeout(SILENCE_S_MAX):
                await writer.drain()

    async def _answer(self, line: bytes, uid: int, writer: asyncio.StreamWriter) -> bytes:
        try:
            asked = from_line(line, size_max=ERRAND_SIZE_MAX)
            if asked.get("ask") in ERRANDS:
                answer = await self._run_errand(asked, uid, writer)
            elif len(line) > REQUEST_SIZE_MAX:
                raise ControlError(ControlCode.TOO_LONG, f"a question of more than {REQUEST_SIZE_MAX} bytes")  # noqa: TRY301 - answered like any other
            else:
                answer = await self._find(asked, uid)
        except GatewayError as error:
            return to_line(refusal(error))
        except Exception:  # noqa: BLE001 - a bug behind a question must not take the daemon down
            _log.exception("control.fault")
            return to_line(refusal(ControlError(ControlCode.FAULT, "the daemon could not answer; see its log")))
        answer_line = to_line({"answer": answer})
        if len(answer_line) > ANSWER_SIZE_MAX:
            return to_line(refusal(ControlError(ControlCode.TOO_LONG, "the answer; ask for less")))
        return answer_line

    async def _run_errand(self, asked: dict[str, Any], uid: int, writer: asyncio.StreamWriter) -> dict[str, Any]:
        """Run an errand to its end, whether or not the asker stays: the same errand again tells how it ended."""
        _check_version(asked)
        _refuse_group(asked, uid)
        if self._make_errands is None:
            raise ControlError(ControlCode.UNKNOWN_REQUEST, "nobody answers this here")
        self._errands = errands = self._errands or self._make_errands()

        def tell(text: str) -> None:
            writer.write(to_line({"progress": text}))

        address = _text(asked, "address") if asked.get("address") is not None else None
        if asked["ask"] == "pair":
            papers = asked.get("papers")
            if not isinstance(papers, dict):
                raise ControlError(ControlCode.MALFORMED, "papers are no object")
            return (await errands.pair(papers, _text(asked, "label"), address, tell)).to_json()
        return (await errands.decommission(_octets(asked, "order"), address, tell)).to_json()

    async def _find(self, asked: dict[str, Any], uid: int) -> dict[str, Any]:
        _check_version(asked)
        match asked.get("ask"):
            case "status":
                return (await self._status.status()).to_json()
            case "log" | "log.entries" | "log.checkpoints" | "trust" as ask:
                return await self._find_log(ask, asked)
            case "explain" if self._explainer is not None:
                at_s = _number(asked, "at") if "at" in asked else None
                return (await self._explainer.explain(_octets(asked, "bundle"), at_s)).to_json()
            case "bugreport" if self._make_reports is not None:
                return (await self._make_reports().report(_report_id(asked))).to_json()
            case "erase" if self._eraser is not None:
                _refuse_group(asked, uid)
                return asdict(await self._eraser.erase(_numbers(asked, "indexes", ERASE_COUNT_MAX)))
            case ask:
                return await self._find_rights(ask, asked)

    async def _find_rights(self, ask: object, asked: dict[str, Any]) -> dict[str, Any]:
        match ask:
            case "grants" if self._rights is not None:
                return (await self._rights.grants(_hash(asked, "after"))).to_json()
            case "drift" if self._rights is not None:
                return self._rights.drift().to_json()
            case _:
                raise ControlError(ControlCode.UNKNOWN_REQUEST, "nobody answers this here")

    async def _find_log(self, ask: str, asked: dict[str, Any]) -> dict[str, Any]:
        match ask:
            case "log":
                return log_wire.header_to_json(await self._journal.header())
            case "log.entries":
                count = min(_number(asked, "count"), PAGE_COUNT_MAX)
                page = await self._journal.leaves(_number(asked, "from"), count, PAGE_SIZE_MAX)
                return log_wire.leaves_to_json(page)
            case "log.checkpoints":
                above = await self._journal.checkpoints(_number(asked, "above"), CHECKPOINT_PAGE_COUNT)
                return log_wire.checkpoints_to_json(above)
            case _:
                return log_wire.trust_to_json(await self._journal.trust())


def _check_version(asked: dict[str, Any]) -> None:
    if asked.get("version") != VERSION:
        raise ControlError(ControlCode.VERSION, f"this daemon speaks version {VERSION}")


def _refuse_group(asked: dict[str, Any], uid: int) -> None:
    if uid not in {0, os.geteuid()}:  # whoever may look may not therefore change or take away
        _log.warning("control.refused", uid=uid, ask=asked["ask"])
        raise ControlError(ControlCode.NOT_PERMITTED, f"uid {uid} is neither root nor the daemon's user")


def _report_id(asked: dict[str, Any]) -> str | None:
    """Return the id of a report that is being made; None: somebody only looks at what would be in it."""
    if "id" not in asked:
        return None
    report_id = _text(asked, "id")
    if REPORT_ID.fullmatch(report_id) is None:  # it goes into the log
        raise ControlError(ControlCode.MALFORMED, "id is none of a report")
    return report_id


def _text(asked: dict[str, Any], name: str) -> str:
    value = asked.get(name)
    if not isinstance(value, str):
        raise ControlError(ControlCode.MALFORMED, f"{name} is no text")
    return value


def _hash(asked: dict[str, Any], name: str) -> bytes:
    value = asked.get(name)
    try:
        decoded = bytes.fromhex(value) if isinstance(value, str) else None
    except ValueError:
        decoded = None
    if decoded is None or len(decoded) > HASH_SIZE:
        raise ControlError(ControlCode.MALFORMED, f"{name} is no hash")
    return decoded


def is_permitted(uid: int, gid: int) -> bool:
    """Tell whether a peer may ask: root, the daemon's user, or somebody whose group is the daemon's."""
    return uid in {0, os.geteuid()} or gid == os.getegid()


async def _next_line(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readline()
    except ValueError:  # asyncio's word for a line beyond the limit
        raise ControlError(ControlCode.TOO_LONG, f"a line of more than {ERRAND_SIZE_MAX} bytes") from None


def _number(asked: dict[str, Any], name: str) -> int:
    value = asked.get(name)
    if not _is_count(value):
        raise ControlError(ControlCode.MALFORMED, f"{name} is no count")
    return value


def _numbers(asked: dict[str, Any], name: str, count_max: int) -> list[int]:
    values = asked.get(name)
    if not isinstance(values, list) or len(values) > count_max or not all(map(_is_count, values)):
        raise ControlError(ControlCode.MALFORMED, f"{name} is no list of at most {count_max} counts")
    return values


def _is_count(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= INDEX_MAX


def _octets(asked: dict[str, Any], name: str) -> bytes:
    value = asked.get(name)
    try:
        return base64.b64decode(value if isinstance(value, str) else "*", validate=True)
    except ValueError:
        raise ControlError(ControlCode.MALFORMED, f"{name} is not base64") from None


def _remove_left_behind(path: Path) -> None:
    try:
        is_socket = stat.S_ISSOCK(path.lstat().st_mode)
    except FileNotFoundError:
        return
    if not is_socket:
        raise ControlError(ControlCode.IN_USE, f"{path} is there and is no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
        # A socket whose daemon was killed refuses at once; one that answers, or is too busy to, is alive.
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        except BlockingIOError:
            pass
    raise ControlError(ControlCode.IN_USE, f"another daemon listens at {path}")
