"""An installer's errands at a lock: find it, pair it, change its keys, take it down (docs/protocol.md §18).

Each errand can be cut off anywhere and begun again: it first asks the lock how far it came.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from firmware_protocol.codes import Code
from firmware_protocol.courier import pieces
from firmware_protocol.errands import CourierAck, OwnerCommit, OwnerOrder, OwnerResult
from firmware_protocol.errors import RemoteProtocolError
from firmware_protocol.hello import HELLO_NONCE_SIZE
from firmware_protocol.noise import DH_SIZE, KeyPair
from firmware_protocol.pairing import GatewayPairing
from firmware_protocol.session import GatewaySession
from firmware_protocol.signed import open_signed
from firmware_protocol.statements import LogHead
from gatewayd.link.carrier import Carrier
from gatewayd.link.faults import LinkLost, RequestRefused
from gatewayd.link.lock_client import LockClient
from gatewayd.link.pairing_talk import CommissionCode, CommissionError, PairingTalk, refusal
from gatewayd.link.radio import RadioError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from firmware_protocol.hello import LockStatus
    from firmware_protocol.pairing import LockLabel
    from firmware_protocol.vocabulary import Parcel
    from gatewayd.channel import Entropy
    from gatewayd.link.lock_client import Unasked
    from gatewayd.link.ports import LockTarget
    from gatewayd.link.radio import Sighting, SurveyingRadio
    from gatewayd.timekeeping import Clock, Instant, TimeInterval

SURVEY_MS: Final = 5_000
"""How long an installer's radio listens before it chooses, in milliseconds: a lock advertises at least once a
second."""
CONNECT_MS_MAX: Final = 10_000
NEARER_DB: Final = 10
"""A lock that is heard by so much louder than the one that waits is the one in front of the installer."""
TRY_COUNT_MAX: Final = 8
"""Most locks that are asked whether they are the one."""

UNUSED_SESSION_CTR: Final = 2**52
"""Number of a session that is never confirmed: above any that a lock can have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """What an errand works with; `progress` is told each step in words for people."""

    radio: SurveyingRadio
    clock: Clock
    entropy: Entropy
    time: TimeInterval
    progress: Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bond:
    """What ties a gateway to a lock: whose lock, and with which keys a session with it begins."""

    target: LockTarget
    keys: KeyPair
    session_ctr: int
    """Durably reserved for this errand."""
    next_owner_epoch: int = 0
    """Of the order that is to be handed over in a session; 0 for none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """An order that has taken effect, by the lock's own signature."""

    owner_epoch: int
    head: bytes
    """The signed LogHead, as received."""
    to_seq: int


async def choose(tools: Tools, *, address: str | None) -> Sighting:
    """Return the one lock that waits to be paired.

    Raises:
        CommissionError: there is none, or not one that is surely the right one.
        RadioError: there is no radio.
    """
    heard = await tools.radio.survey(duration_ms=SURVEY_MS)
    if address is not None:
        heard = tuple(sighting for sighting in heard if sighting.address == address.upper())
    if not heard:
        where = "no lock is heard" if address is None else f"no lock is heard at {address}"
        raise CommissionError(
            CommissionCode.NONE_HEARD, f"{where}: check the lock's batteries, and bring the gateway nearer to the door"
        )
    waiting = [sighting for sighting in heard if sighting.installable]
    if not waiting:
        raise CommissionError(
            CommissionCode.NONE_WAITS,
            f"{_told(heard)} heard, and none waits to be paired: press the install button inside the lock",
        )
    if len(waiting) > 1:
        raise CommissionError(
            CommissionCode.SEVERAL_WAIT,
            f"{_told(waiting)} wait to be paired: wait until only one does, or name it with --address",
        )
    (chosen,) = waiting
    louder = [each for each in heard if each.rssi_dbm >= chosen.rssi_dbm + NEARER_DB]
    if louder:
        raise CommissionError(
            CommissionCode.NEIGHBOUR_NEARER,
            f"{_told([chosen])} waits, but {_told(louder)} is nearer: press the install button of the lock in front of "
            f"you, or name the other with --address {chosen.address}",
        )
    return chosen


async def pair(
    tools: Tools,
    sighting: Sighting,
    *,
    label: LockLabel,
    bond: Bond,
    order: bytes,
    parcels: Sequence[tuple[Parcel, bytes]],
) -> Sealed:
    """Make a lock that waits ours by an order, and hand over what it needs without internet.

    Raises:
        CommissionError: it did not come to that.
        RadioError: the radio failed.
    """
    link = await tools.radio.connect(sighting, timeout_ms=CONNECT_MS_MAX)
    tools.progress(f"connected to {sighting.address}, {sighting.rssi_dbm} dBm")
    session = GatewayPairing(
        keys=bond.keys,
        label=label,
        ephemeral=KeyPair.from_private(tools.entropy.token(DH_SIZE)),
        nonce=tools.entropy.token(HELLO_NONCE_SIZE),
        version_floor=0,
        value_size_max=link.value_size_max,
        now_ms=tools.clock.now().monotonic_ms,
    )
    talk = PairingTalk()
    carrier = Carrier(
        session=session, link=link, clock=tools.clock, on_event=talk.take_event, on_change=talk.note_change
    )
    talk.carrier = carrier
    carrying = asyncio.create_task(carrier.run())
    try:
        await talk.opened()
        tools.progress("this is the lock of the label")
        await talk.ask(OwnerResult, OwnerOrder(order=order))
        for kind, data in parcels:
            await talk.ask(CourierAck, *pieces(kind, data))
            tools.progress(f"handed over: {kind.name.lower()}")
        result = await talk.ask(OwnerResult, OwnerCommit())
        return _sealed(result, bond.target)
    finally:
        carrying.cancel()
        await asyncio.wait({carrying})
        await carrier.farewell(Code.LINK_DOWN)
        await link.close()


async def hand_over(client: LockClient, order: bytes, target: LockTarget) -> Sealed:
    """Let an order take effect in a session of ours.

    Raises:
        CommissionError: the lock refuses it.
        LinkLost: nobody knows; the next session's status tells.
    """
    try:
        await client.ask(OwnerResult, OwnerOrder(order=order))
        return _sealed(await client.ask(OwnerResult, OwnerCommit()), target)
    except RequestRefused as refused:
        raise refusal(refused.row) from refused


@asynccontextmanager
async def session_with(
    tools: Tools, bond: Bond, *, confirms: bool = True
) -> AsyncIterator[tuple[LockClient, LockStatus, str]]:
    """Open a session with our lock, wherever it is heard, for the length of a block; confirmed if `confirms`.

    Yields the lock's end, its status, and where it is.

    Without CONFIRM nothing changes in the lock, and nothing can be asked of it: it is a look at its status.

    Raises:
        CommissionError: no lock in reach proves to be ours.
        RadioError: there is no radio.
    """
    heard = await tools.radio.survey(duration_ms=SURVEY_MS)
    hinted = [each for each in heard if bond.target.address in (None, each.address)]
    for sighting in sorted(hinted, key=lambda each: -each.rssi_dbm)[:TRY_COUNT_MAX]:
        try:
            opened = await _open(tools, bond, sighting, confirms=confirms)
        except (LinkLost, RadioError) as fault:
            tools.progress(f"{sighting.address} is not it ({fault.code})")
            continue
        client, status, close = opened
        try:
            yield client, status, sighting.address
        finally:
            await close()
        return
    raise CommissionError(
        CommissionCode.NOT_OURS,
        f"of {_told(heard)} heard none proves to be lock {bond.target.lock_id.hex()} of this gateway: bring the "
        "gateway nearer, or pair the lock with a new order",
    )


async def _open(
    tools: Tools, bond: Bond, sighting: Sighting, *, confirms: bool
) -> tuple[LockClient, LockStatus, Callable[[], Awaitable[None]]]:
    link = await tools.radio.connect(sighting, timeout_ms=CONNECT_MS_MAX)
    session = GatewaySession(
        keys=bond.keys,
        lock_key=bond.target.lock_key,
        ephemeral=KeyPair.from_private(tools.entropy.token(DH_SIZE)),
        nonce=tools.entropy.token(HELLO_NONCE_SIZE),
        session_ctr=bond.session_ctr,
        version_floor=0,
        value_size_max=link.value_size_max,
        now_ms=tools.clock.now().monotonic_ms,
        next_owner_epoch=bond.next_owner_epoch,
    )
    client = LockClient(session=session, link=link, clock=tools.clock, sink=_NoSink())
    carrying = asyncio.create_task(client.run())

    async def close() -> None:
        carrying.cancel()
        await asyncio.wait({carrying})
        await client.farewell(Code.LINK_DOWN)
        await link.close()

    try:
        authenticated, _ = await client.authenticated()
        if confirms:
            client.confirm(tools.time)
            await client.state()
    except BaseException:
        await close()
        raise
    return client, authenticated.status, close


async def look(tools: Tools, target: LockTarget, keys: KeyPair) -> tuple[LockStatus, str] | None:
    """Return our lock's status and where it is, or None where none in reach takes these keys; nothing changes in it.

    Raises:
        RadioError: there is no radio.
    """
    bond = Bond(target=target, keys=keys, session_ctr=UNUSED_SESSION_CTR)
    try:
        async with session_with(tools, bond, confirms=False) as (_, status, address):
            return status, address
    except CommissionError:
        return None  # the answer to the question; why each lock was none has gone to `tools.progress`


class _NoSink:
    """An errand is not for phones, nor for showing the door."""

    def on_record(self, message: Unasked, instant: Instant) -> None:
        """See `RecordSink`."""

    async def on_uptime(self, up_ms: int, instant: Instant) -> None:
        """See `RecordSink`."""


def _sealed(result: OwnerResult, target: LockTarget) -> Sealed:
    if result.code is not Code.DONE or result.head is None:
        raise CommissionError(CommissionCode.UNPROVEN, "the lock does not say that the order has taken effect")
    try:
        head = open_signed(LogHead, result.head, target.log_key)
    except RemoteProtocolError as error:
        raise CommissionError(
            CommissionCode.UNPROVEN, "the lock cannot prove its log key: its Door object is another lock's"
        ) from error
    if head.lock_id != target.lock_id:
        raise CommissionError(CommissionCode.UNPROVEN, "the lock has another id than its order")
    return Sealed(owner_epoch=result.owner_epoch, head=result.head, to_seq=head.to_seq)


def _told(sightings: Sequence[Sighting]) -> str:
    if not sightings:
        return "no lock"
    ordered = sorted(sightings, key=lambda each: -each.rssi_dbm)
    return ", ".join(f"{each.address} ({each.rssi_dbm} dBm)" for each in ordered)
