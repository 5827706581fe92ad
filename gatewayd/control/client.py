"""A command's end of the control socket. Blocks: commands have nothing else to do."""

from __future__ import annotations

import base64
import socket
from typing import TYPE_CHECKING, Any, Final, Self

from pydantic import TypeAdapter, ValidationError

from firmware_protocol.merkle import Frontier
from gatewayd.control import log_wire
from gatewayd.control.grants_wire import DriftDocument, GrantPage
from gatewayd.control.messages import (
    ANSWER_SIZE_MAX,
    ERASE_COUNT_MAX,
    PAGE_COUNT_MAX,
    ControlCode,
    ControlError,
    ErrandDocument,
    Explanation,
    StatusDocument,
    from_line,
    request,
    to_line,
)
from gatewayd.control.report_wire import ReportDocument
from gatewayd.journal.copies import LogCopy
from gatewayd.store.erasure import Erased

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path
    from types import TracebackType

    from gatewayd.control.grants_wire import GrantLine
    from gatewayd.journal.copies import LeafCopy
    from gatewayd.journal.journal import SignedCheckpoint
    from gatewayd.store.inspection import StoredTrust

ANSWER_S_MAX: Final = 10
"""Longest wait for an answer, in seconds."""
ERRAND_S_MAX: Final = 120
"""Longest wait for a word of an errand, in seconds: looking around, connecting, and a log that is read."""

WHAT_NEXT: Final = "systemctl status gatewayd tells"


class ControlClient:
    """One connection to the daemon."""

    def __init__(self, path: Path) -> None:
        """Connect.

        Raises:
            ControlError: UNREACHABLE.
        """
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(ANSWER_S_MAX)
        try:
            self._socket.connect(str(path))
        except OSError as error:
            self._socket.close()
            raise self._unreachable(error) from error
        self._lines = self._socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lines.close()
        self._socket.close()

    def status(self) -> StatusDocument:
        """Return how the daemon does.

        Raises:
            ControlError: UNREACHABLE, MALFORMED, or what the daemon says.
        """
        try:
            return TypeAdapter(StatusDocument).validate_python(self._ask("status"))
        except ValidationError as error:
            raise ControlError(ControlCode.MALFORMED, "a status that this command does not understand") from error

    def bugreport(self, report_id: str | None) -> ReportDocument:
        """Return what the daemon adds to a bug report, and have it write down the id; raises as `status` does."""
        parameters = {} if report_id is None else {"id": report_id}
        try:
            return TypeAdapter(ReportDocument).validate_python(self._ask("bugreport", **parameters))
        except ValidationError as error:
            raise ControlError(ControlCode.MALFORMED, "a report that this command does not understand") from error

    def explain(self, bundle: bytes, at_s: int | None = None) -> Explanation:
        """Return why the daemon would permit or refuse this; raises as `status` does."""
        parameters: dict[str, int | str] = {"bundle": base64.b64encode(bundle).decode()}
        if at_s is not None:
            parameters["at"] = at_s
        try:
            return TypeAdapter(Explanation).validate_python(self._ask("explain", **parameters))
        except ValidationError as error:
            raise ControlError(ControlCode.MALFORMED, "an explanation that this command does not understand") from error

    def grants(self) -> Iterator[GrantLine]:
        """Yield the grants that are kept; raises as `status` does."""
        after = ""
        while True:
            try:
                page = TypeAdapter(GrantPage).validate_python(self._ask("grants", after=after))
            except ValidationError as error:
                raise ControlError(ControlCode.MALFORMED, "grants that this command does not understand") from error
            yield from page.grants
            if not page.more or not page.grants or page.grants[-1].sha256 <= after:
                return
            after = page.grants[-1].sha256

    def drift(self) -> DriftDocument:
        """Return which revocations are in force; raises as `status` does."""
        try:
            return TypeAdapter(DriftDocument).validate_python(self._ask("drift"))
        except ValidationError as error:
            raise ControlError(ControlCode.MALFORMED, "a report that this command does not understand") from error

    def erase(self, indexes: Iterable[int]) -> Erased:
        """Erase the words of these entries, as far as they are received; raises as `status` does."""
        count = waiting_count = 0
        wanted = sorted(indexes)
        for start in range(0, len(wanted), ERASE_COUNT_MAX):
            batch = wanted[start : start + ERASE_COUNT_MAX]
            erased = log_wire.erased_from_json(self._ask("erase", indexes=batch))
            count, waiting_count = count + erased.count, waiting_count + erased.waiting_count
        return Erased(count=count, waiting_count=waiting_count)

    def pair(
        self, papers: dict[str, Any], label: str, address: str | None, progress: Callable[[str], None]
    ) -> ErrandDocument:
        """Have the daemon pair a lock; raises as `status` does, and with what the errand came to."""
        return self._errand("pair", progress, papers=papers, label=label, address=address)

    def decommission(self, order: bytes, address: str | None, progress: Callable[[str], None]) -> ErrandDocument:
        """Have the daemon let a lock go; raises as `pair` does."""
        return self._errand("decommission", progress, order=base64.b64encode(order).decode(), address=address)

    def _errand(self, ask: str, progress: Callable[[str], None], **parameters: object) -> ErrandDocument:
        self._socket.settimeout(ERRAND_S_MAX)
        try:
            self._send(ask, **parameters)
            while isinstance(said := (answer := self._next_line()).get("progress"), str):
                progress(said)
            return TypeAdapter(ErrandDocument).validate_python(_answer_in(answer))
        except ValidationError as error:
            raise ControlError(ControlCode.MALFORMED, "an answer that this command does not understand") from error

    def trust(self) -> StoredTrust:
        """Return the signed objects that name keys; raises as `status` does."""
        return log_wire.trust_from_json(self._ask("trust"))

    def log(self) -> LogCopy:
        """Return the journal as it stands now; its entries are fetched as they are read. Raises as `status` does."""
        header = log_wire.header_from_json(self._ask("log"))
        before = Frontier.from_bytes(header.before)
        return LogCopy(
            log_id=header.log_id,
            size=header.size,
            root=header.root,
            before=before,
            leaves=self.leaves(before.size, header.size),
            checkpoints=tuple(each for each in self._checkpoints() if each.size <= header.size),
            received=header.received,
        )

    def log_size(self) -> int:
        """Return how many entries the journal has had; raises as `status` does."""
        return log_wire.header_from_json(self._ask("log")).size

    def leaves(self, start: int, end: int) -> Iterator[LeafCopy]:
        """Return entries from `start` to before `end`, fetched as they are read; raises as `status` does."""
        index = start
        while index < end:
            count = min(PAGE_COUNT_MAX, end - index)
            page = log_wire.leaves_from_json(self._ask("log.entries", **{"from": index, "count": count}))
            if not page:
                return  # whoever verifies says what is missing
            if page[0].index > index and self._oldest() > index:
                raise ControlError(ControlCode.BUSY, "the journal was pruned meanwhile; ask again")
            yield from page
            index = _further(page[-1].index + 1, than=index)

    def _oldest(self) -> int:
        header = log_wire.header_from_json(self._ask("log"))
        return Frontier.from_bytes(header.before).size

    def _checkpoints(self) -> Iterator[SignedCheckpoint]:
        above = 0
        while page := log_wire.checkpoints_from_json(self._ask("log.checkpoints", above=above)):
            yield from page
            above = _further(page[-1].size, than=above)

    def _ask(self, ask: str, **parameters: object) -> dict[str, Any]:
        self._send(ask, **parameters)
        return _answer_in(self._next_line())

    def _send(self, ask: str, **parameters: object) -> None:
        try:
            self._socket.sendall(to_line(request(ask, **parameters)))
        except OSError as error:
            raise self._unreachable(error) from error

    def _next_line(self) -> dict[str, Any]:
        try:
            line = self._lines.readline(ANSWER_SIZE_MAX + 1)
        except OSError as error:
            raise self._unreachable(error) from error
        if not line:
            raise ControlError(ControlCode.UNREACHABLE, f"{self._path}: the daemon has gone; {WHAT_NEXT}")
        return from_line(line, size_max=ANSWER_SIZE_MAX)

    def _unreachable(self, error: OSError) -> ControlError:
        refused = isinstance(error, PermissionError)
        cure = "only root and the daemon's user and group may ask" if refused else f"is gatewayd running? {WHAT_NEXT}"
        return ControlError(
            ControlCode.UNREACHABLE,
            f"{self._path}: {error.strerror or str(error) or 'no answer'}; {cure}",
        )


def _answer_in(message: dict[str, Any]) -> dict[str, Any]:
    if isinstance(found := message.get("answer"), dict):
        return found
    raise _refused(message.get("error"))


def _further(position: int, *, than: int) -> int:
    if position <= than:
        raise ControlError(ControlCode.MALFORMED, "a page that leads nowhere")
    return position


def _refused(error: object) -> ControlError:
    match error:
        case {"code": str(code), "detail": str(detail)}:
            return ControlError(code, detail)
        case _:
            return ControlError(ControlCode.MALFORMED, "neither an answer nor a refusal")
