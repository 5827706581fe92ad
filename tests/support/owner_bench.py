"""A lock from the factory on a bench, an office that signs orders, and gateways that want to own it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from firmware_protocol.courier import pieces
from firmware_protocol.errands import CourierAck, OwnerCommit, OwnerOrder, OwnerResult
from firmware_protocol.messages import ErrorRecord
from firmware_protocol.noise import KeyPair
from firmware_protocol.pairing import GatewayPairing
from firmware_protocol.session import GatewaySession, LinkAuthenticated, PeerClosing, RecordReceived
from firmware_protocol.vocabulary import Parcel
from simulator.office import Office
from tests.support.lock_bench import VALUE_SIZE_MAX, Bench, BenchPipe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from firmware_protocol.hello import LockStatus
    from firmware_protocol.messages import Message
    from firmware_protocol.pairing import LockLabel
    from firmware_protocol.session import Event
    from simulator.office import Home

NOW_S: Final = 1_800_000_000
PROVIDER: Final = "north-care"


class OwnerBench(Bench):
    """The lock belongs to nobody. `home` and `other` are two gateways' homes with this same lock."""

    def __init__(self, *, log_count_max: int = 1_024) -> None:
        self.office = Office(b"owner-bench")
        self.home = self.office.home("home-1")
        other = self.office.home("home-2")
        self.other = replace(other, lock_log_key=self.home.lock_log_key, lock_link_keys=self.home.lock_link_keys)
        super().__init__(keys=self.office.lock_keys(self.home), log_count_max=log_count_max)

    def parcels(self, home: Home, *, seq: int = 1, now_s: int = NOW_S) -> list[tuple[Parcel, bytes]]:
        """Return what goes with an order."""
        return [
            (Parcel.KEYSET, self.office.keyset(now_s=NOW_S)),
            (Parcel.AUTHORITY, self.office.authority(home, PROVIDER, now_s=NOW_S)),
            (Parcel.STATE, self.office.state(home, now_s=now_s, seq=seq)),
        ]

    def order(self, home: Home, *, epoch: int = 1, link: KeyPair | None = None, life_s: int = 86_400) -> bytes:
        """Return a PairingOrder for this lock."""
        key = None if link is None else link.public
        return self.office.pairing_order(home, now_s=NOW_S, owner_epoch=epoch, gateway_link_key=key, life_s=life_s)

    def installer(self, home: Home, *, label: LockLabel | None = None, link: KeyPair | None = None) -> Owner:
        """Connect a gateway that wants to pair."""
        pipe = BenchPipe(self.lock.gateway_disconnected)
        self.lock.gateway_connected(pipe)
        session = GatewayPairing(
            keys=link or home.gateway_link_keys,
            label=label or self.keys.label,
            ephemeral=KeyPair.from_private(self.entropy.token(32)),
            nonce=self.entropy.token(8),
            version_floor=1,
            value_size_max=VALUE_SIZE_MAX,
            now_ms=self.scheduler.now_ms(),
        )
        return Owner(self, pipe, session)

    def owner(self, home: Home, session_ctr: int, *, link: KeyPair | None = None, next_owner_epoch: int = 0) -> Owner:
        """Connect a gateway that believes that the lock is its own."""
        pipe = BenchPipe(self.lock.gateway_disconnected)
        self.lock.gateway_connected(pipe)
        session = GatewaySession(
            keys=link or home.gateway_link_keys,
            lock_key=self.keys.link.public,
            ephemeral=KeyPair.from_private(self.entropy.token(32)),
            nonce=self.entropy.token(8),
            session_ctr=session_ctr,
            version_floor=1,
            value_size_max=VALUE_SIZE_MAX,
            now_ms=self.scheduler.now_ms(),
            next_owner_epoch=next_owner_epoch,
        )
        return Owner(self, pipe, session)

    def live_owner(
        self,
        home: Home,
        session_ctr: int,
        *,
        link: KeyPair | None = None,
        utc_s: tuple[int, int] | None = None,
        next_owner_epoch: int = 0,
    ) -> Owner:
        """Connect the owner and confirm its session."""
        owner = self.owner(home, session_ctr, link=link, next_owner_epoch=next_owner_epoch)
        owner.confirm(utc_s)
        return owner

    def pair(self, home: Home, *, epoch: int = 1) -> Message:
        """Let an installer do all of it, and hang up."""
        installer = self.installer(home)
        result = installer.hand_over(self.order(home, epoch=epoch), self.parcels(home))
        installer.pipe.disconnect()
        return result

    @property
    def owner_id(self) -> bytes:
        """The truth: whose the lock is."""
        return self.flash.values.gateway_id

    def everything(self) -> object:
        """Return all that is durable, for telling whether it has changed."""
        return self.medium.read()


class Owner:
    """A gateway's end of either kind of link."""

    def __init__(self, bench: Bench, pipe: BenchPipe, session: GatewaySession | GatewayPairing) -> None:
        self.events: list[Event] = []
        self.pipe = pipe
        self.session = session
        self._bench = bench
        self._corr = 0

    def exchange(self) -> None:
        """Carry values until neither end has more to say."""
        moved = True
        while moved:
            moved = False
            for value in self.session.take_values():
                moved = True
                if self.pipe.is_open:
                    self._bench.lock.gateway_value(value)
            for value in self.pipe.take():
                moved = True
                self.events.extend(self.session.receive_value(value, self._bench.scheduler.now_ms()))

    @property
    def status(self) -> LockStatus:
        """What the lock said in the handshake."""
        [authenticated] = [event for event in self.events if isinstance(event, LinkAuthenticated)]
        return authenticated.status

    @property
    def closed(self) -> PeerClosing | None:
        """The lock's goodbye."""
        return next((event for event in self.events if isinstance(event, PeerClosing)), None)

    def confirm(self, utc_s: tuple[int, int] | None = None) -> None:
        """Make the session live."""
        self.exchange()
        lo_s, hi_s = utc_s or (None, None)
        assert isinstance(self.session, GatewaySession)
        self.session.confirm(utc_lo_s=lo_s, utc_hi_s=hi_s)
        self.exchange()

    def ask(self, *messages: Message) -> Message:
        """Send records under one number and return the last answer."""
        self._corr += 1
        for message in messages:
            self.session.send(message, corr=self._corr)
        self.exchange()
        answers = [
            event.message for event in self.events if isinstance(event, RecordReceived) and event.corr == self._corr
        ]
        return answers[-1]

    def hand_over(self, order: bytes, parcels: Sequence[tuple[Parcel, bytes]] = ()) -> Message:
        """Lay an order down, bring what goes with it, and commit."""
        self.exchange()
        laid = self.ask(OwnerOrder(order=order))
        assert isinstance(laid, OwnerResult), laid
        for kind, data in parcels:
            assert isinstance(self.ask(*pieces(kind, data)), CourierAck)
        return self.ask(OwnerCommit())


def code_of(message: Message) -> object:
    """Return the code of an answer that has one."""
    assert isinstance(message, (ErrorRecord, OwnerResult, CourierAck))
    return message.code
