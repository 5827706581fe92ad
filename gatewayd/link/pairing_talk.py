"""The conversation with a lock that is being paired, and how it can come to nothing."""

from __future__ import annotations

import asyncio
from enum import StrEnum, unique
from typing import TYPE_CHECKING, Final, TypeVar

from firmware_protocol.codes import Code
from firmware_protocol.messages import ErrorRecord, Message
from firmware_protocol.session import PairingOpened, PeerClosing, RecordReceived
from gatewayd.errors import GatewayError
from gatewayd.link.faults import LinkLost

if TYPE_CHECKING:
    from firmware_protocol.session import Event
    from gatewayd.link.carrier import Carrier
    from gatewayd.timekeeping import Instant

STEP_MS_MAX: Final = 10_000
"""Longest wait for one answer of a lock that is being paired, in milliseconds: it writes its flash in between."""
T = TypeVar("T", bound=Message)


@unique
class CommissionCode(StrEnum):
    """Why an errand came to nothing."""

    NONE_HEARD = "pair.none_heard"
    """No lock is in reach, or none at the address that was named."""
    NONE_WAITS = "pair.none_waits"
    """Locks are heard, and none waits to be paired: press the install button."""
    SEVERAL_WAIT = "pair.several_wait"
    """More than one waits: name it by its address."""
    NEIGHBOUR_NEARER = "pair.neighbour_nearer"
    """One waits, and another is so much nearer that it may be the one in front of the installer."""
    OTHER_LOCK = "pair.other_lock"
    """The lock that waits is not the one of the label."""
    WRONG_SECRET = "pair.wrong_secret"  # noqa: S105 - the name of a fault
    """The secret of the label is not the lock's."""
    REFUSED = "pair.refused"
    """The lock refuses the order, and says why."""
    LOST = "pair.link_lost"
    """The lock went away in the middle: the same command again goes on."""
    UNPROVEN = "pair.unproven"
    """The lock does not prove what it should: its papers are another lock's."""
    NOT_OURS = "pair.not_ours"
    """No lock in reach proves to be the one of this gateway."""
    NO_LONGER_OURS = "pair.no_longer_ours"
    """Another unit has the lock by a newer order, or the key before the new one was not named."""


class CommissionError(GatewayError):
    """The errand came to nothing; `detail` says what to do next. The lock is as it was, or the next try will tell."""


class PairingTalk:
    """Questions and answers over a pairing; one at a time."""

    carrier: Carrier

    def __init__(self) -> None:
        self._corr = 0
        self._is_open = False
        self._answers: asyncio.Queue[Message | None] = asyncio.Queue()
        self._changed = asyncio.Event()

    def take_event(self, event: Event, _instant: Instant) -> None:
        """See `Carrier`."""
        match event:
            case PairingOpened():
                self._is_open = True
            case RecordReceived(corr=corr, message=message) if corr == self._corr:
                self._answers.put_nowait(message)
            case PeerClosing(code=code):
                raise LinkLost(code.dotted, "the lock hangs up")
            case _:
                pass

    def note_change(self) -> None:
        """See `Carrier`."""
        self._changed.set()
        if self.carrier.lost is not None:
            self._answers.put_nowait(None)

    async def opened(self) -> None:
        """Wait for the handshake.

        Raises:
            CommissionError: it came to nothing.
        """
        while not self._is_open:
            if self.carrier.lost is not None:
                raise _handshake_fault(self.carrier.lost)
            self._changed.clear()
            await self._changed.wait()

    async def ask(self, kind: type[T], *messages: Message) -> T:
        """Return the lock's answer.

        Raises:
            CommissionError: it refused, or is gone.
        """
        self._corr += 1
        try:
            for message in messages:
                self.carrier.send(message, self._corr)
            async with asyncio.timeout(STEP_MS_MAX / 1_000):
                answer = await self._answers.get()
        except (TimeoutError, LinkLost):
            answer = None
        if answer is None:
            raise _lost(self.carrier.lost, first=self._corr == 1)
        if isinstance(answer, ErrorRecord):
            raise refusal(answer.code)
        if not isinstance(answer, kind):
            raise CommissionError(CommissionCode.UNPROVEN, f"the lock answers with a {type(answer).__name__}")
        return answer


def _handshake_fault(lost: LinkLost) -> CommissionError:
    if lost.code == Code.WRONG_AUDIENCE.dotted:
        return CommissionError(
            CommissionCode.OTHER_LOCK,
            "the lock that waits is not the one of this label: scan the label of the lock in front of you",
        )
    if lost.code == Code.NOT_INSTALLING.dotted:
        return CommissionError(
            CommissionCode.NONE_WAITS, "the lock has an owner and waits no more: press its install button again"
        )
    return _lost(lost, first=True)


def _lost(lost: LinkLost | None, *, first: bool) -> CommissionError:
    if first and lost is not None and lost.code == Code.DENIED.dotted:
        return CommissionError(
            CommissionCode.WRONG_SECRET,
            "the secret on the label is not this lock's: scan the label again, and see that it is whole",
        )
    why = "it did not answer" if lost is None else lost.code
    return CommissionError(CommissionCode.LOST, f"the lock was lost in the middle ({why}): run the same command again")


def refusal(code: Code) -> CommissionError:
    """Return the fault for an order that the lock refuses; RIGHTS is what it says to its former owner."""
    if code is Code.RIGHTS:
        return CommissionError(
            CommissionCode.NO_LONGER_OURS,
            "the lock has let go of this gateway by another order: pair it anew, after pressing its install button",
        )
    return CommissionError(CommissionCode.REFUSED, f"the lock refuses the order ({code.dotted})")
