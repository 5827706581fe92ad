"""What operators may ask beside movement: which revocations a home has, and root's word on the time."""

from __future__ import annotations

import asyncio
import hashlib
import json
from typing import TYPE_CHECKING

import pytest
from nacl.signing import SigningKey

from firmware_protocol import cbor
from firmware_protocol.chains import make_bundle
from firmware_protocol.codes import Code
from firmware_protocol.errors import RemoteProtocolError
from firmware_protocol.relay import AnswerKind
from firmware_protocol.signed import open_signed, sign
from firmware_protocol.statements import BugReport, DriftReport, GatewayInfo
from firmware_protocol.vocabulary import OfflineClass, Role, Tier
from gatewayd.journal.events import AlertRaised
from gatewayd.report_facts import fitting
from gatewayd.request_desk import SPENT_COUNT_MAX
from gatewayd.store import meta
from gatewayd.uplink.outbox import REWIND_INTERVAL_S
from tests.support.memory_world import MemoryWorld
from tests.support.virtual_loop import run_virtual

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from gatewayd.house import House
    from gatewayd.uplink.seam import Incoming

YEAR_S = 365 * 24 * 3_600


def bundle(
    world: MemoryWorld,
    house: House,
    verb: str = "drift",
    *,
    ttl_s: int = 60,
    arguments: bytes | None = None,
    signers: Sequence[SigningKey] | None = None,
    epoch: bytes | None = None,
    request_id: bytes = bytes(range(16)),
) -> bytes:
    return world.office.request(
        world.home,
        verb,
        epoch=house.epoch.value if epoch is None else epoch,
        exp_s=house.epoch.now_s(world.clock.now().boottime_ms) + ttl_s,
        request_id=request_id,
        arguments=arguments,
        signers=signers,
    )


def number(value: int) -> bytes:
    return cbor.encode({0: value})


async def refusal(house: House, data: bytes, verb: str = "drift") -> Code:
    with pytest.raises(RemoteProtocolError) as refused:
        await house.request_desk.take_request(verb, data)
    return refused.value.code


def test_a_home_says_which_revocations_it_has(tmp_path: Path) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 80)
        async with world.gateway() as house:
            await world.settled()
            state = world.office.state(world.home, now_s=world.utc_s(), seq=7, revoked_ctis=(bytes(16),))
            await house.base.trust.take_state(state)
            world.send(world.topics.request("drift"), bundle(world, house))
            answer = await world.next_answer(AnswerKind.REPORT)
            report = open_signed(DriftReport, answer.body, bytes(world.home.gateway_signing_key.verify_key))
            assert (report.state_keyset_version, report.state_seq) == (1, 7)
            assert report.state_sha256 == hashlib.sha256(state).digest()
            assert (report.keyset_version, report.tier, report.request_id) == (1, Tier.FRESH, bytes(range(16)))
            assert len(report.authority_ctis) == 1
            assert report.utc_lo_s <= world.utc_s() <= (report.utc_hi_s or 0)

    run_virtual(story())


def test_a_home_without_a_state_says_that_it_has_none(tmp_path: Path) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 81)
        async with world.gateway() as house:
            await world.settled()
            house.base.trust.state = None
            _, raw = await house.request_desk.take_request("drift", bundle(world, house))
            report = open_signed(DriftReport, raw, bytes(world.home.gateway_signing_key.verify_key))
            assert (report.state_seq, report.state_sha256) == (None, None)

    run_virtual(story())


REFUSALS: dict[str, tuple[Callable[[MemoryWorld, House], bytes], Code]] = {
    "of an earlier epoch": (lambda world, house: bundle(world, house, epoch=bytes(16)), Code.WRONG_EPOCH),
    "that waited too long": (lambda world, house: bundle(world, house, ttl_s=0), Code.EXPIRED),
    "for later": (lambda world, house: bundle(world, house, ttl_s=301), Code.TTL_TOO_LONG),
    "of another verb": (
        lambda world, house: bundle(world, house, "time"),
        Code.WRONG_AUDIENCE,
    ),
    "with other arguments than were signed": (
        lambda world, house: make_bundle(_first(bundle(world, house)), b"\xa1\x00\x01"),
        Code.BAD_SIGNATURE,
    ),
    "with arguments that it does not have": (
        lambda world, house: bundle(world, house, arguments=b"\xa1\x00\x01"),
        Code.MALFORMED,
    ),
    "with too many parts": (
        lambda world, house: make_bundle(_first(bundle(world, house)), b"\xa0", b"\xa0"),
        Code.MALFORMED,
    ),
}


def _first(data: bytes) -> bytes:
    parts = cbor.decode(data, size_max=2_000)
    assert isinstance(parts, tuple)
    assert isinstance(parts[0], bytes)
    return parts[0]


@pytest.mark.parametrize(("make", "code"), REFUSALS.values(), ids=REFUSALS)
def test_a_request_that_is_not_what_it_claims_is_refused(
    tmp_path: Path, make: Callable[[MemoryWorld, House], bytes], code: Code
) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 82)
        async with world.gateway() as house:
            await world.settled()
            assert await refusal(house, make(world, house)) is code
            assert await refusal(house, bundle(world, house, "unlock"), "unlock") is Code.UNSUPPORTED_TYPE
            _, _ = await house.request_desk.take_request("drift", bundle(world, house, ttl_s=300))

    run_virtual(story())


def test_attack_another_role_or_another_gateways_request(tmp_path: Path) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 83)
        async with world.gateway() as house:
            await world.settled()
            status = world.office.role_keys[Role.STATUS]
            home, other = world.home, world.office.home("home-2")
            for verb in ("bugreport", "drift", "resend"):
                world.office.role_keys[Role.STATUS] = world.office.role_keys[Role.ALARM]
                assert await refusal(house, bundle(world, house, verb), verb) is Code.UNKNOWN_SIGNER
                world.office.role_keys[Role.STATUS], world.home = status, other
                assert await refusal(house, bundle(world, house, verb), verb) is Code.WRONG_AUDIENCE
                world.home = home

    run_virtual(story())


# Bug report.


def test_a_gateway_that_nobody_stands_beside_says_how_it_does_and_writes_the_id_down(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 95)
        async with world.gateway() as house:
            await world.settled()
            capsys.readouterr()
            world.send(world.topics.request("bugreport"), bundle(world, house, "bugreport"))
            answer = await world.next_answer(AnswerKind.REPORT)
            report = open_signed(BugReport, answer.body, bytes(world.home.gateway_signing_key.verify_key))
            assert (report.request_id, report.gateway_id) == (bytes(range(16)), world.home.gateway_id)
            facts = dict(report.facts)
            assert [name for name, _ in report.facts][:2] == ["version", "tier"]
            told = {"tier": "fresh", "boot": "1", "store-faults": "0", "radio-failed": "no", "lock-1-link": "ready"}
            assert told.items() <= facts.items()
            assert facts["lock-1"] == world.home.lock_id.hex()
            logged = capsys.readouterr().out
            assert "bugreport.made" in logged
            assert report.report_id in logged
            assert await refusal(house, bundle(world, house, "bugreport"), "bugreport") is Code.DUPLICATE
            asked_more = bundle(world, house, "bugreport", arguments=number(1), request_id=bytes(16))
            assert await refusal(house, asked_more, "bugreport") is Code.MALFORMED

    run_virtual(story())


def test_a_bug_report_over_the_broker_says_of_no_door_where_it_stands(tmp_path: Path) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 96)
        async with world.gateway() as house:
            await world.settled()
            _, before = await house.request_desk.take_request("bugreport", bundle(world, house, "bugreport"))
            assert (await world.visit(world.carer("anna"))).final is Code.DONE
            again = bundle(world, house, "bugreport", request_id=bytes(16))
            _, after = await house.request_desk.take_request("bugreport", again)
            key = bytes(world.home.gateway_signing_key.verify_key)
            first, second = (dict(open_signed(BugReport, raw, key).facts) for raw in (before, after))
            changed = {name for name in first | second if first.get(name) != second.get(name)}
            assert changed <= {"entries", "received", "radio-unproven-s"}

    run_virtual(story())


def test_a_report_of_sixteen_locks_and_endless_faults_fits_and_says_what_it_leaves_out() -> None:
    facts = [(f"lock-{number}-fault", "\x1b[2J" + "å" + "radio." + "x" * 90) for number in range(60)]
    fitted = fitting(facts)
    assert fitted[0] == ("lock-0-fault", "[2Jradio." + "x" * 23)
    assert fitted[-1] == ("left-out", str(60 - len(fitted) + 1))
    report = BugReport(request_id=bytes(16), gateway_id=bytes(8), report_id="K7M2-9QXD", facts=fitted)
    assert len(sign(report, SigningKey(bytes(32)))) <= 1_024
    small = [(f"f{number}", "") for number in range(60)]
    assert len(fitting(small)) == 40
    assert fitting(small[:39]) == tuple((name, "-") for name, _ in small[:39])


# Time.


def test_root_alone_lowers_the_floor_durably_and_doors_open_again(tmp_path: Path) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 84)
        world.disconnect_central()
        async with world.gateway() as house:
            await asyncio.sleep(5)
            ahead = world.office.state(world.home, now_s=world.utc_s() + 50 * YEAR_S, seq=2)
            await house.base.trust.take_state(ahead)  # a stolen status key, before anybody could tell the time
            responder = world.carer("rita", offline_class=OfflineClass.RESPONDER)
            assert (await world.visit(responder)).final is Code.EXPIRED
            before = house.epoch.value
            order = bundle(
                world, house, "time", arguments=number(world.utc_s() - 60), signers=world.office.roots[:2], ttl_s=86_400
            )
            world.send(world.topics.request("time"), order)
            info = open_signed(
                GatewayInfo,
                (await world.next_answer(AnswerKind.INFO)).body,
                bytes(world.home.gateway_signing_key.verify_key),
            )
            assert info.locks[0].epoch == house.epoch.value != before
            assert (await world.visit(responder)).final is Code.DONE
            world.relock()
            assert await refusal(house, order, "time") is Code.WRONG_EPOCH
            await world.kill_gateway()
            restarted = await world.start_gateway()
            await asyncio.sleep(5)
            assert abs(restarted.base.timekeeper.interval().lo_s - world.utc_s()) < 120

    run_virtual(story())


def test_what_was_on_its_way_to_the_disk_when_root_lowered_the_floor_does_not_bring_the_old_one_back(
    tmp_path: Path,
) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 87)
        world.disconnect_central()
        async with world.gateway() as house:
            await asyncio.sleep(5)
            base = house.base
            await base.trust.take_state(world.office.state(world.home, now_s=world.utc_s() + 50 * YEAR_S, seq=2))
            order = bundle(world, house, "time", arguments=number(world.utc_s()), signers=world.office.roots[:2])
            await asyncio.gather(
                house.request_desk.take_request("time", order),
                base.recorder.record(AlertRaised(code="store.low", detail="said in the same moment")),
            )
            stored = await base.seams.store.run(meta.load_time)
            assert stored is not None
            assert abs(stored.floor_ms // 1_000 - world.utc_s()) < 120

    run_virtual(story())


def test_attack_nobody_else_and_not_one_root_alone_touches_the_time(tmp_path: Path) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 85)
        async with world.gateway() as house:
            await world.settled()
            office, now = world.office, world.utc_s()
            for signers in (
                None,
                [office.roots[0]],
                [office.roots[0], office.roots[0]],
                [office.roots[0], office.role_keys[Role.STATUS]],
            ):
                order = bundle(world, house, "time", arguments=number(now - YEAR_S), signers=signers)
                assert await refusal(house, order, "time") is Code.BAD_SIGNATURE
            assert house.base.timekeeper.interval().trusted

    run_virtual(story())


@pytest.mark.parametrize(
    "arguments",
    [
        b"\xa0",
        number(5) + b"\x00",
        cbor.encode({0: -1}),
        cbor.encode({0: True}),
        cbor.encode({0: 1, 1: 2}),
        b"\x01",
        number(1_800_000_000_000),
    ],
    ids=["nothing", "something behind it", "before 1970", "true", "more", "no map", "in milliseconds"],
)
def test_an_order_without_one_second_of_utc_changes_nothing(tmp_path: Path, arguments: bytes) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 86)
        async with world.gateway() as house:
            await world.settled()
            order = bundle(world, house, "time", arguments=arguments, signers=world.office.roots[:2])
            assert await refusal(house, order, "time") is Code.MALFORMED
            assert house.base.timekeeper.interval().trusted

    run_virtual(story())


# Resend.


class Log:
    """Everything that is published on the log's topics from now on."""

    def __init__(self, world: MemoryWorld) -> None:
        self.indexes: list[int] = []
        self.checkpoint_count = 0
        world.broker.listen(world.topics.log_entries, self._take_entry)
        world.broker.listen(world.topics.log_checkpoint, self._take_checkpoint)

    def _take_entry(self, message: Incoming) -> None:
        self.indexes.append(int(json.loads(message.payload)["id"].rpartition("/")[2]))

    def _take_checkpoint(self, _message: Incoming) -> None:
        self.checkpoint_count += 1


def test_a_journal_is_sent_again_from_where_the_administrator_says_also_what_was_received(tmp_path: Path) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 87)
        async with world.gateway() as house:
            await world.settled()
            marks = await house.ledger.marks()
            assert marks.received == marks.size > 3
            heard = Log(world)
            world.send(world.topics.request("resend"), bundle(world, house, "resend", arguments=number(2)))
            answer = await world.next_answer(AnswerKind.INFO)
            open_signed(GatewayInfo, answer.body, bytes(world.home.gateway_signing_key.verify_key))
            await asyncio.sleep(5)
            assert heard.indexes == list(range(2, marks.size))
            assert heard.checkpoint_count == 1

    run_virtual(story())


def test_attack_a_recorded_request_to_resend_is_obeyed_once(tmp_path: Path) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 88)
        async with world.gateway() as house:
            await world.settled()
            recorded = bundle(world, house, "resend", arguments=number(0), ttl_s=300)
            await house.request_desk.take_request("resend", recorded)
            await asyncio.sleep(5)
            heard = Log(world)
            assert await refusal(house, recorded, "resend") is Code.DUPLICATE
            await asyncio.sleep(294)
            assert await refusal(house, recorded, "resend") is Code.DUPLICATE
            await asyncio.sleep(1)
            assert await refusal(house, recorded, "resend") is Code.EXPIRED
            assert heard.indexes == []

    run_virtual(story())


def test_a_resend_is_begun_at_most_once_a_second_and_what_came_too_soon_may_be_asked_again(tmp_path: Path) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 89)
        async with world.gateway() as house:
            await world.settled()
            first, second = (
                bundle(world, house, "resend", arguments=number(0), request_id=bytes([each] * 16)) for each in (1, 2)
            )
            await house.request_desk.take_request("resend", first)
            assert await refusal(house, second, "resend") is Code.RATE_LIMITED
            await asyncio.sleep(REWIND_INTERVAL_S)
            await house.request_desk.take_request("resend", second)

    run_virtual(story())


def test_so_many_resends_are_remembered_and_no_more_obeyed_until_the_first_are_over(tmp_path: Path) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 90)
        async with world.gateway() as house:
            await world.settled()

            def asking(each: int) -> bytes:
                return bundle(world, house, "resend", arguments=number(10**6), request_id=bytes([each] * 16), ttl_s=300)

            for each in range(SPENT_COUNT_MAX):
                await house.request_desk.take_request("resend", asking(each))
                await asyncio.sleep(REWIND_INTERVAL_S)
            assert await refusal(house, asking(SPENT_COUNT_MAX), "resend") is Code.RATE_LIMITED
            await asyncio.sleep(300 - SPENT_COUNT_MAX)
            await house.request_desk.take_request("resend", asking(SPENT_COUNT_MAX))

    run_virtual(story())


@pytest.mark.parametrize("arguments", [None, number(-1), cbor.encode({0: 1, 1: 2})], ids=["none", "negative", "two"])
def test_a_resend_from_nowhere_is_refused(tmp_path: Path, arguments: bytes | None) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 91)
        async with world.gateway() as house:
            await world.settled()
            assert await refusal(house, bundle(world, house, "resend", arguments=arguments), "resend") is Code.MALFORMED

    run_virtual(story())
