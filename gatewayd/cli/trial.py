"""The test movement after a pairing: the door stands open, and the installer's own phone opens the lock once.

The gateway moves nothing on a technician's word, not even here: the phone signs, with the installer's grant, over the
lock, as every carer's will. This only looks on, so that whoever leaves has seen the bolt move on the whole way.
"""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass
from enum import StrEnum, unique
from typing import TYPE_CHECKING, Any, Final, Protocol

from firmware_protocol.codes import Code
from firmware_protocol.sentences import SENTENCES
from gatewayd.errors import GatewayError
from gatewayd.journal.events import CommandDecided, CommandOutcome
from gatewayd.journal.leaves import LeafError, read_leaf

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from firmware_protocol.sentences import Language
    from gatewayd.control.messages import LockStatus, StatusDocument
    from gatewayd.journal.copies import LeafCopy

LOOK_S: Final = 1.0
"""How often the daemon is asked, in seconds."""
READY_S_MAX: Final = 90
DOOR_S_MAX: Final = 180
PHONE_S_MAX: Final = 300
"""Longest waits for the link, for the door to be opened, and for the phone, in seconds."""


@unique
class TrialCode(StrEnum):
    """Why no bolt was seen to move, beside the code of a movement that failed."""

    NO_DAEMON = "trial.no_daemon"
    """The lock is paired, and nobody serves it who could see it move."""
    NOT_SERVED = "trial.not_served"
    """The daemon does not have this lock."""
    NOT_READY = "trial.not_ready"
    """Its link did not come up, or its door was not opened, in time."""
    DOOR_CLOSED = "trial.door_closed"
    """Nobody says that the door stands open."""
    NO_PHONE = "trial.no_phone"
    """Nobody came to open."""


class TrialError(GatewayError):
    """The bolt has not been seen to move; `detail` says what to do, `code` is a `TrialCode` or the movement's."""


class Gateway(Protocol):
    """What is asked of the daemon (`control.client.ControlClient`)."""

    def status(self) -> StatusDocument:
        """Return how it does."""

    def log_size(self) -> int:
        """Return how many entries its journal has had."""

    def leaves(self, start: int, end: int) -> Iterator[LeafCopy]:
        """Return entries of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialDocument:
    """How it went, for machines."""

    code: str
    """`outcome.done`."""
    bolt: str
    """How the bolt stood afterwards, by the lock's own word."""
    door: str
    """How the door stood."""

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return asdict(self)


class Trial:
    """One test movement of one lock."""

    def __init__(
        self,
        gateway: Gateway,
        lock_id: str,
        *,
        tell: Callable[[str], None],
        is_open: Callable[[], bool],
        language: Language,
    ) -> None:
        """`is_open` asks the installer, where the lock has no sensor that tells."""
        self._gateway = gateway
        self._lock_id = lock_id
        self._tell = tell
        self._is_open = is_open
        self._language = language

    async def run(self) -> TrialDocument:
        """Look on until the bolt has moved.

        Raises:
            TrialError: it has not.
            GatewayError: the daemon does not answer.
        """
        await self._until(
            lambda: self._lock().ready,
            READY_S_MAX,
            "the daemon has no link to the lock yet: see gatewayd status, then the same command again",
        )
        await self._open_door()
        start = self._gateway.log_size()
        self._tell("Now open once with your phone, while the door stands open.")
        for _ in range(round(PHONE_S_MAX / LOOK_S)):
            end = self._gateway.log_size()
            outcome = self._outcome_in(start, end)
            if outcome is not None:
                return self._judged(outcome)
            start = end
            await asyncio.sleep(LOOK_S)
        raise TrialError(
            TrialCode.NO_PHONE, "no phone has come: the lock is paired; the same command again tries the bolt again"
        )

    async def _open_door(self) -> None:
        door = self._lock().door
        if door == "unknown":
            if not self._is_open():
                raise TrialError(TrialCode.DOOR_CLOSED, "the bolt is tried with the door open: open it, then again")
        elif door != "open":
            self._tell("Open the door and leave it open: a bolt that is tried in its frame can lock somebody out.")
            await self._until(
                lambda: self._lock().door == "open",
                DOOR_S_MAX,
                "the door is closed: open it, then the same command again; if it stands open, its sensor is wrong",
            )
        if self._lock().bolt != "locked":
            self._tell("Turn the bolt out by hand: there must be something to draw back.")
            await self._until(
                lambda: self._lock().bolt == "locked",
                DOOR_S_MAX,
                "the bolt is not out: turn it out by hand while the door stands open, then the same command again",
            )

    async def _until(self, is_so: Callable[[], bool], s_max: int, otherwise: str) -> None:
        for _ in range(round(s_max / LOOK_S)):
            if is_so():
                return
            await asyncio.sleep(LOOK_S)
        raise TrialError(TrialCode.NOT_READY, otherwise)

    def _lock(self) -> LockStatus:
        for lock in self._gateway.status().locks:
            if lock.lock_id == self._lock_id:
                return lock
        raise TrialError(TrialCode.NOT_SERVED, f"the daemon does not serve lock {self._lock_id}: start it anew")

    def _outcome_in(self, start: int, end: int) -> str | None:
        """Return the code of a movement's outcome among new entries, and tell of what was refused."""
        for copy in self._gateway.leaves(start, end):
            try:
                leaf = read_leaf(copy.leaf)
            except LeafError:
                continue
            if leaf.lock_id is None or leaf.lock_id.hex() != self._lock_id:
                continue
            code: str = leaf.data.get("code", "")
            if leaf.type == CommandOutcome.TYPE:
                return code
            if leaf.type == CommandDecided.TYPE and code != Code.PERMITTED.dotted:
                self._tell(f"refused: {self._sentence(code)}")
        return None

    def _judged(self, code: str) -> TrialDocument:
        if code != Code.DONE.dotted:
            raise TrialError(code, f"the bolt was to move and did not: {self._sentence(code)}")
        lock = self._lock()
        return TrialDocument(code=code, bolt=lock.bolt, door=lock.door)

    def _sentence(self, code: str) -> str:
        sentence = SENTENCES[Code.from_dotted(code)]
        return f"{sentence.meaning.text(self._language)} {sentence.next_step.text(self._language)}"
