"""The whole decision of one gateway on a real store, without loop, link and broker: time is what the test says."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from firmware_protocol.commands import ChallengeFreshness
from firmware_protocol.vocabulary import Tier
from gatewayd.access.freshness import Challenges, Epoch, Epochs, FreshnessFacts
from gatewayd.channel import Channel, Submission
from gatewayd.identity import Identity
from gatewayd.recorder import Page, Recorder
from gatewayd.reservation import Asked, Premises, Reservations, Standing
from gatewayd.roll import Roll
from gatewayd.settings import LimitSettings
from gatewayd.statements import Statements
from gatewayd.store.creation import create_file
from gatewayd.store.database import Database
from gatewayd.store.locks import LockHome, save_lock_home
from gatewayd.store.log import load_journal
from gatewayd.store.meta import StoredTime
from gatewayd.store.schema import migrate
from gatewayd.store.store import Store
from gatewayd.store.writer import Writer
from gatewayd.suspicion import Suspicion
from gatewayd.timekeeper import TimeKeeper
from gatewayd.timekeeping import Instant, TimeInterval
from gatewayd.trust_keeper import TrustKeeper
from tests.support.homes import BOOTTIME_MS, NOW_S, TestHome
from tests.support.inline_executor import InlineExecutor
from tests.support.seeded_entropy import SeededEntropy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from firmware_protocol.chains import VerifiedBundle
    from firmware_protocol.statements import AuthorityState
    from gatewayd.reservation import Decided
    from gatewayd.store.database import Transaction


@dataclass
class SteppedClock:
    """A `Clock` that a test moves."""

    boottime_ms: int = BOOTTIME_MS

    def now(self) -> Instant:
        """See `Clock.now`."""
        return Instant(monotonic_ms=self.boottime_ms, boottime_ms=self.boottime_ms, utc_ms=0)


class PowerCutError(Exception):
    """The power went in the middle of a transaction."""


class DecisionBench:
    """`ask` decides as the door does; everything durable is in one file at `path`."""

    def __init__(self, path: Path, home: TestHome, *, limits: LimitSettings | None = None, entropy: int = 0) -> None:
        self.path = path
        self.home = home
        self.clock = SteppedClock()
        self.entropy = SeededEntropy(entropy)
        self.challenges = Challenges()
        self.time = TimeInterval(lo_ms=NOW_S * 1_000, hi_ms=NOW_S * 1_000)
        self.tier = Tier.FRESH
        self.state: AuthorityState | None = None
        self.installer_ctis: Mapping[bytes, bytes] = {}
        self.epoch = Epoch(value=self.entropy.token(16), drawn_boottime_ms=BOOTTIME_MS - 100_000)
        self._limits = limits or LimitSettings()
        create_file(path, log_id=bytes(16))
        self._open()
        at_home = LockHome(lock_id=home.home.lock_id, pairing_order=b"order", door=b"door", owner_epoch=1)
        self.database.run(partial(save_lock_home, home=at_home))

    def _open(self) -> None:
        keys = self.home.home
        self.database = Database(self.path)
        migrate(self.database)
        store = Store(Writer(self.database), executor=InlineExecutor())
        identity = Identity(signing_key=keys.gateway_signing_key, link_keys=keys.gateway_link_keys)
        self.journal = self.database.run(lambda tx: load_journal(tx, gateway_id=keys.gateway_id))
        timekeeper = TimeKeeper(clock=self.clock, stored=None)
        recorder = Recorder(store=store, journal=self.journal, timekeeper=timekeeper, entropy=self.entropy)
        roll = Roll({keys.lock_id})
        epochs = Epochs(clock=self.clock, entropy=self.entropy)
        epochs.current = self.epoch
        self.reservations = Reservations(
            premises=Premises(gateway_id=keys.gateway_id, roll=roll, limits=self._limits),
            statements=Statements(
                identity=identity,
                log_id=self.journal.log_id,
                roll=roll,
                epochs=epochs,
                clock=self.clock,
                timekeeper=timekeeper,
                trust=TrustKeeper(
                    gateway_id=keys.gateway_id,
                    roots=self.home.office.root_public_keys,
                    store=store,
                    recorder=recorder,
                    timekeeper=timekeeper,
                ),
                suspicion=Suspicion(store=store),
            ),
        )

    # The world.

    def advance(self, ms: int) -> None:
        """Let time go by, as CLOCK_BOOTTIME and the trusted interval have it."""
        self.clock.boottime_ms += ms
        hi_ms = None if self.time.hi_ms is None else self.time.hi_ms + ms
        self.time = TimeInterval(lo_ms=self.time.lo_ms + ms, hi_ms=hi_ms)

    def restart(self) -> None:
        """Start the process anew: what is not in the file is gone."""
        self.database.close()
        self.challenges = Challenges()
        self.epoch = Epoch(value=self.entropy.token(16), drawn_boottime_ms=self.clock.boottime_ms)
        self._open()

    def card(self) -> bytes:
        """Return a copy of the card as it would be found after a power cut now."""
        copy = self.path.with_name("copy")
        self.database.close()
        shutil.copyfile(self.path, copy)
        self._open()
        return copy.read_bytes()

    def put_card(self, card: bytes) -> None:
        """Put an older card in and start from it."""
        self.database.close()
        for suffix in ("-wal", "-shm"):
            self.path.with_name(f"{self.path.name}{suffix}").unlink(missing_ok=True)
        self.path.write_bytes(card)
        self.challenges = Challenges()
        self.epoch = Epoch(value=self.entropy.token(16), drawn_boottime_ms=self.clock.boottime_ms)
        self._open()

    def run(self, work: Callable[[Transaction], Any]) -> Any:
        """Run a transaction of somebody else's."""
        return self.database.run(work)

    # The decision.

    def asked(self, bundle: VerifiedBundle, *, through: bytes | None = None) -> Asked:
        """Take a verified command as the door does: its challenge is burnt."""
        freshness, learned_ms = bundle.command.freshness, None
        lock_id = through or self.home.home.lock_id
        at_door = isinstance(freshness, ChallengeFreshness)
        if isinstance(freshness, ChallengeFreshness):
            learned_ms = self.challenges.learned_boottime_ms(lock_id, freshness.challenge)
            self.challenges.burn(lock_id, freshness.challenge)
        return Asked(
            bundle=bundle,
            submission=Submission(
                channel=Channel.RELAY if at_door else Channel.MQTT, bundle=b"", lock_id=lock_id if at_door else None
            ),
            freshness=FreshnessFacts(
                boottime_ms=self.clock.boottime_ms,
                epoch=self.epoch,
                challenge_learned_ms=learned_ms,
                last_issued_s=None,
            ),
            standing=Standing(
                keyset=self.home.keyset, state=self.state, tier=self.tier, installer_ctis=self.installer_ctis
            ),
        )

    def ask(self, bundle: VerifiedBundle, *, power_fails: bool = False) -> Decided:
        """Decide a command durably, or let the power fail before the transaction is.

        Raises:
            PowerCutError: it failed, and nothing was kept.
        """
        asked = self.asked(bundle)

        def work(tx: Transaction) -> Decided:
            decided = self.reservations.decide(self.page(tx), asked)
            if power_fails:
                raise PowerCutError
            return decided

        return self.database.run(work)

    def page(self, tx: Transaction) -> Page:
        """Return a transaction's page at the present time."""
        stored = StoredTime(floor_ms=self.time.lo_ms, anchors={})
        return Page(tx=tx, time=self.time, stored_time=stored, journal=self.journal, entropy=self.entropy)

    def close(self) -> None:
        """Let go of the file."""
        self.database.close()
