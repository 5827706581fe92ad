"""The test movement after a pairing: only with the door open, only by a phone, and said in words when it fails."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import pytest

from firmware_protocol.codes import Code
from firmware_protocol.sentences import Language
from gatewayd.cli.pair import try_bolt
from gatewayd.cli.trial import DOOR_S_MAX, PHONE_S_MAX, READY_S_MAX, Trial, TrialError
from gatewayd.config.loader import load
from gatewayd.journal.copies import LeafCopy
from gatewayd.journal.events import CommandDecided, CommandOutcome, TimeStamp
from gatewayd.journal.leaves import to_leaf
from tests.support.control_bench import STATUS
from tests.support.gateway_folder import GatewayFolder
from tests.support.virtual_loop import run_virtual

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gatewayd.control.messages import LockStatus, StatusDocument
    from gatewayd.journal.events import Event

LOCK_ID: Final = bytes.fromhex(STATUS.locks[0].lock_id)
HASH: Final = "00" * 32


class Daemon:
    """A `trial.Gateway`: what it says of one lock changes as the test goes on."""

    def __init__(self, *, ready: bool = True, door: str = "open", bolt: str = "locked") -> None:
        self.lock: LockStatus = replace(STATUS.locks[0], ready=ready, door=door, bolt=bolt)
        self.entries: list[bytes] = [b"", b"rot"]

    def status(self) -> StatusDocument:
        return replace(STATUS, locks=(self.lock,))

    def log_size(self) -> int:
        return len(self.entries)

    def leaves(self, start: int, end: int) -> Iterator[LeafCopy]:
        for index in range(start, end):
            yield LeafCopy(index=index, leaf=self.entries[index])

    def happens(self, event: Event) -> None:
        time = TimeStamp(lo_ms=1_800_000_000_000, hi_ms=None)
        leaf = to_leaf(event, gateway_id=bytes(8), log_id=bytes(16), index=len(self.entries), salt=bytes(16), time=time)
        self.entries.append(leaf)

    def moves(self, code: Code, *, bolt: str = "unlocked", lock_id: bytes = LOCK_ID) -> None:
        self.happens(
            CommandOutcome(lock_id=lock_id, command_id="00" * 16, command_sha256=HASH, code=code.dotted, bolt=bolt)
        )
        self.lock = replace(self.lock, bolt=bolt)

    def refuses(self, code: Code) -> None:
        self.happens(
            CommandDecided(
                lock_id=LOCK_ID,
                command_id="00" * 16,
                command_sha256=HASH,
                channel="relay",
                action="unlock",
                code=code.dotted,
                signer="00" * 8,
                subject="ivar",
                role="carer",
                tier="fresh",
            )
        )


def trial(daemon: Daemon, told: list[str], *, says_open: bool = False) -> Trial:
    return Trial(daemon, LOCK_ID.hex(), tell=told.append, is_open=lambda: says_open, language=Language.ENGLISH)


def later(delay_s: float, do: object, *arguments: object) -> None:
    asyncio.get_running_loop().call_later(delay_s, do, *arguments)  # type: ignore[arg-type]  # any callable


def test_the_bolt_is_seen_to_move_by_the_phone_with_the_door_open() -> None:
    async def story() -> None:
        daemon = Daemon()
        told: list[str] = []
        later(20, daemon.refuses, Code.TIER)
        later(30, lambda: daemon.moves(Code.DONE, lock_id=bytes(8)))
        later(60, daemon.moves, Code.DONE)
        document = await trial(daemon, told).run()
        assert document.to_json() == {"code": "outcome.done", "bolt": "unlocked", "door": "open"}
        assert told[0] == "Now open once with your phone, while the door stands open."
        assert told[1].startswith("refused: ")
        assert asyncio.get_running_loop().time() % 1_000 >= 60, "another lock's movement is none of this one"

    run_virtual(story())


def test_it_waits_for_the_link_and_for_the_door() -> None:
    async def story() -> None:
        daemon = Daemon(ready=False, door="closed", bolt="unlocked")
        told: list[str] = []
        later(READY_S_MAX - 2, lambda: setattr(daemon, "lock", replace(daemon.lock, ready=True)))
        later(READY_S_MAX + 60, lambda: setattr(daemon, "lock", replace(daemon.lock, door="open")))
        later(READY_S_MAX + 80, lambda: setattr(daemon, "lock", replace(daemon.lock, bolt="locked")))
        later(READY_S_MAX + 90, daemon.moves, Code.DONE)
        assert (await trial(daemon, told).run()).door == "open"
        assert [line.partition(":")[0] for line in told[:2]] == [
            "Open the door and leave it open",
            "Turn the bolt out by hand",
        ]

    run_virtual(story())


@pytest.mark.parametrize(
    ("daemon", "said", "within_s"),
    [
        (Daemon(ready=False), "no link to the lock yet", READY_S_MAX),
        (Daemon(door="closed"), "the door is closed: open it", DOOR_S_MAX),
        (Daemon(bolt="unlocked"), "the bolt is not out: turn it out by hand", DOOR_S_MAX),
        (Daemon(door="unknown"), "the bolt is tried with the door open", 1),
        (Daemon(), "no phone has come: the lock is paired", PHONE_S_MAX),
    ],
    ids=["no link", "closed", "nothing to draw back", "nobody says", "no phone"],
)
def test_what_is_missing_is_said_with_what_to_do(daemon: Daemon, said: str, within_s: int) -> None:
    async def story() -> None:
        begun_s = asyncio.get_running_loop().time()
        with pytest.raises(TrialError, match=said) as caught:
            await trial(daemon, []).run()
        assert "\n" not in caught.value.detail
        assert asyncio.get_running_loop().time() - begun_s <= within_s + 1

    run_virtual(story())


@pytest.mark.parametrize("code", [Code.FAILED, Code.MOTOR_BLOCKED, Code.MAY_HAVE_EXECUTED])
def test_a_bolt_that_does_not_move_fails_the_test_in_words(code: Code) -> None:
    async def story() -> None:
        daemon = Daemon(door="unknown")
        later(5, daemon.moves, code)
        with pytest.raises(TrialError, match="the bolt was to move and did not: ") as caught:
            await trial(daemon, [], says_open=True).run()
        assert caught.value.code == code.dotted

    run_virtual(story())


def test_a_lock_that_the_daemon_does_not_serve_is_named() -> None:
    async def story() -> None:
        daemon = Daemon()
        daemon.lock = replace(daemon.lock, lock_id="00" * 8)
        with pytest.raises(TrialError, match=LOCK_ID.hex()):
            await trial(daemon, []).run()

    run_virtual(story())


def test_without_a_daemon_the_lock_is_paired_and_the_test_says_what_it_needs(tmp_path: Path) -> None:
    folder = GatewayFolder(tmp_path)
    with pytest.raises(TrialError, match="systemctl start gatewayd, then the same command again"):
        try_bolt(load(folder.config), LOCK_ID.hex(), door_open=True)
