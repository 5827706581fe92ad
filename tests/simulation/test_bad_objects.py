"""Bad objects with good signatures: refused with their reason, counted, nothing stored, nobody else disturbed.

Whoever signs them holds a true key, so the signature stops none: a provider's careless program, or a clever one.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import pytest

from firmware_protocol import cbor, cose
from firmware_protocol.chains import make_bundle
from firmware_protocol.codes import Code
from firmware_protocol.constants import BUNDLE_SIZE_MAX, LARGE_OBJECT_SIZE_MAX, OBJECT_SIZE_MAX
from firmware_protocol.vocabulary import Role
from gatewayd.settings import LimitSettings
from gatewayd.store import trust as trust_rows
from gatewayd.uplink.downlink import Drop
from simulator.office import unlock_at_door, unlock_over_mqtt
from tests.support.memory_world import PROVIDER, MemoryWorld
from tests.support.virtual_loop import run_virtual

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    from gatewayd.house import House

EXP: Final = b"\x04"
"""CWT's key of the end of a right."""
VALUES: Final = {
    "NaN": b"\xf9\x7e\x00",
    "infinity": b"\xf9\x7c\x00",
    "a fraction": b"\xfb\x41\xda\xd2\x74\x80\x00\x00\x00",
    "2^63": b"\x1b\x80" + bytes(7),
    "2^64 - 1": b"\x1b" + b"\xff" * 8,
    "2^64, a big number": b"\xc2\x49\x01" + bytes(8),
    "minus one": b"\x20",
    "a text": b"\x64soon",
    "a byte string": b"\x44soon",
    "true": b"\xf5",
    "null": b"\xf6",
    "a list": b"\x81\x00",
    "more bytes than needed": b"\x1b\x00\x00\x00\x00\x6b\x49\xd2\x00",
}


def disturb(folder: Path, seed: int, tell: Callable[[MemoryWorld, House], Coroutine[Any, Any, None]]) -> None:
    async def story() -> None:
        world = MemoryWorld(folder, seed, limits=LimitSettings(lock_burst=100))
        async with world.gateway() as house:
            await world.settled()
            before = await held(house)
            await tell(world, house)
            assert await held(house) == before
            assert (await world.visit(world.carer("anna"))).final is Code.DONE

    run_virtual(story())


async def held(house: House) -> tuple[object, ...]:
    """Return everything that the gateway trusts, in memory and on disk."""
    trust = house.base.trust
    on_disk = await house.base.seams.store.run(
        lambda tx: (
            trust_rows.count_grants(tx),
            trust_rows.load_authorities(tx),
            trust_rows.load_keyset(tx),
            trust_rows.load_authority_state(tx),
        )
    )
    return (trust.keyset, trust.state, trust.grant_count, trust.authority_count, on_disk)


async def is_refused(world: MemoryWorld, house: House, topic: str, payload: bytes) -> None:
    before = house.downlink.dropped[Drop.REFUSED]
    world.send(topic, payload)
    async with asyncio.timeout(30):
        while house.downlink.dropped[Drop.REFUSED] == before:
            await asyncio.sleep(0.01)


def resigned(signed: bytes, *, key: Any, domain: str, old: bytes, new: bytes) -> bytes:
    """Return an object in which some bytes were others before its holder signed it."""
    payload = cose.parse(signed, size_max=LARGE_OBJECT_SIZE_MAX).payload
    assert payload.count(old) == 1
    return cose.sign1(payload.replace(old, new), key=key, domain=domain)


@pytest.mark.parametrize("value", VALUES)
def test_an_end_that_is_no_second_is_refused_in_every_object_that_has_one(tmp_path: Path, value: str) -> None:
    async def tell(world: MemoryWorld, house: House) -> None:
        now_s, office = world.utc_s(), world.office
        carer = world.carer("bo")
        provider = office.signing_key(f"provider-{PROVIDER}")

        def ends(signed: bytes, key: Any, domain: str) -> bytes:
            payload: Any = cbor.decode(cose.parse(signed, size_max=LARGE_OBJECT_SIZE_MAX).payload, size_max=4_096)
            old = EXP + cbor.encode(payload[4])
            return resigned(signed, key=key, domain=domain, old=old, new=EXP + VALUES[value])

        topics = world.topics
        grant = ends(carer.grant, provider, "grant")
        authority = ends(carer.authority or b"", office.role_keys[Role.AUTHORITY], "authority")
        state = ends(office.state(world.home, now_s=now_s, seq=2), office.role_keys[Role.STATUS], "state")
        await is_refused(world, house, topics.authority_grant("bo"), grant)
        await is_refused(world, house, topics.authority_provider(PROVIDER), authority)
        await is_refused(world, house, topics.authority_state, state)
        visit = await world.visit(type(carer)(key=carer.key, grant=grant, authority=carer.authority))
        assert visit.denied

    disturb(tmp_path, 300, tell)


@pytest.mark.parametrize("value", VALUES)
def test_a_commands_second_that_is_none_is_denied(tmp_path: Path, value: str) -> None:
    async def tell(world: MemoryWorld, _: House) -> None:
        carer, place = world.carer("bo"), (await world.ask_info()).locks[0]
        bundle = unlock_over_mqtt(
            carer,
            world.home,
            epoch=place.epoch,
            issued_s=place.now_s,
            command_id=bytes(16),
            now_s=world.utc_s(),
            ttl_s=40_000,
        )
        command, *chain = [bytes(part) for part in cbor.decode(bundle, size_max=BUNDLE_SIZE_MAX)]  # type: ignore[union-attr, arg-type]
        old = b"\x07" + cbor.encode(place.now_s + 40_000)
        forged = resigned(command, key=carer.key, domain="command", old=old, new=b"\x07" + VALUES[value])
        world.send(world.topics.command, make_bundle(forged, *chain))
        await asyncio.sleep(1)
        assert [answer.kind.name for answer in world.answers] == ["DENIED"]
        assert world.command_movements == []

    disturb(tmp_path, 301, tell)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param(b"\x00\x03", b"\x00\x18\xff", id="rights that there are not"),
        pytest.param(b"\x01\x81\x82", b"\x01\x81\x83\x00", id="a window of three ends"),
        pytest.param(b"\x02canna", b"\x02\xa0", id="a person who is a map"),
    ],
)
def test_a_grant_of_the_wrong_shape_is_refused(tmp_path: Path, old: bytes, new: bytes) -> None:
    async def tell(world: MemoryWorld, house: House) -> None:
        grant, provider = world.carer("anna").grant, world.office.signing_key(f"provider-{PROVIDER}")
        payload = cose.parse(grant, size_max=OBJECT_SIZE_MAX).payload
        if old not in payload:
            old_here = old.replace(b"\x02canna", b"\x02danna")
            forged = payload.replace(old_here, new)
        else:
            forged = payload.replace(old, new)
        assert forged != payload
        await is_refused(
            world, house, world.topics.authority_grant("x"), cose.sign1(forged, key=provider, domain="grant")
        )

    disturb(tmp_path, 302, tell)


def test_oversize_objects_are_refused_before_they_are_looked_at(tmp_path: Path) -> None:
    async def tell(world: MemoryWorld, house: House) -> None:
        topics, grant = world.topics, world.carer("bo").grant
        for topic, size_max in (
            (topics.authority_grant("big"), OBJECT_SIZE_MAX),
            (topics.authority_provider("big"), OBJECT_SIZE_MAX),
            (topics.authority_state, LARGE_OBJECT_SIZE_MAX),
            (topics.authority_keyset, LARGE_OBJECT_SIZE_MAX),
            (topics.alarm, OBJECT_SIZE_MAX),
        ):
            await is_refused(world, house, topic, grant + bytes(size_max + 1 - len(grant)))

    disturb(tmp_path, 303, tell)


def test_an_object_on_the_topic_of_another_kind_is_refused(tmp_path: Path) -> None:
    async def tell(world: MemoryWorld, house: House) -> None:
        office, topics, now_s = world.office, world.topics, world.utc_s()
        carer = world.carer("bo")
        objects = {
            "keyset": office.keyset(now_s=now_s, version=2),
            "state": office.state(world.home, now_s=now_s, seq=2),
            "authority": office.authority(world.home, "south-care", now_s=now_s),
            "grant": carer.grant,
        }
        homes = {
            "keyset": topics.authority_keyset,
            "state": topics.authority_state,
            "authority": topics.authority_provider("south-care"),
            "grant": topics.authority_grant("bo"),
        }
        for kind, payload in objects.items():
            for place, topic in homes.items():
                if kind != place:
                    await is_refused(world, house, topic, payload)

    disturb(tmp_path, 304, tell)


def test_a_keyset_with_a_role_that_there_is_not_is_refused_though_two_roots_signed_it(tmp_path: Path) -> None:
    async def tell(world: MemoryWorld, house: House) -> None:
        signed = world.office.keyset(now_s=world.utc_s(), version=2)
        payload: Any = cbor.decode(cose.parse(signed, size_max=LARGE_OBJECT_SIZE_MAX).payload, size_max=4_096)
        payload[2][9] = payload[2][int(Role.ALARM)]
        forged = cose.sign_many(cbor.encode(payload), keys=world.office.roots[:2], domain="keyset")
        await is_refused(world, house, world.topics.authority_keyset, forged)

    disturb(tmp_path, 305, tell)


def test_grants_for_locks_that_are_not_ours_are_refused(tmp_path: Path) -> None:
    async def tell(world: MemoryWorld, house: House) -> None:
        for number in range(20):
            elsewhere = world.office.home(f"elsewhere-{number}")
            grant = world.office.grant(elsewhere, PROVIDER, "anna", now_s=world.utc_s())
            await is_refused(world, house, world.topics.authority_grant(f"g{number}"), grant)

    disturb(tmp_path, 306, tell)


@pytest.mark.slow
@pytest.mark.parametrize("count", [2_300, pytest.param(10_000, marks=pytest.mark.soak)])
def test_thousands_of_grants_at_once_fill_their_providers_share_and_keep_nobody_waiting(
    tmp_path: Path, count: int
) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 307)
        async with world.gateway() as house:
            await world.settled()
            now_s = world.utc_s()
            for number in range(count):
                grant = world.office.grant(world.home, PROVIDER, "anna", now_s=now_s, number=number)
                world.send(world.topics.authority_grant(f"g{number}"), grant)
            visit = await world.visit(world.carer("bo"))
            assert visit.final is Code.DONE
            assert visit.decided_ms is not None
            assert visit.decided_ms < 1_000
            refused = count - trust_rows.GRANT_COUNT_PER_ISSUER_MAX
            async with asyncio.timeout(600):
                while house.downlink.dropped[Drop.REFUSED] < refused:
                    await asyncio.sleep(1)
            kept = await house.base.seams.store.run(trust_rows.count_grants)
            assert kept <= trust_rows.GRANT_COUNT_PER_ISSUER_MAX + 1  # the visitor's own came with her
            world.relock()
            assert (await world.visit(world.carer("cia"))).final is Code.DONE

    run_virtual(story())


@pytest.mark.parametrize("size", [0, 1, BUNDLE_SIZE_MAX - 1])
def test_bundles_of_any_size_that_are_none_are_denied_at_the_door(tmp_path: Path, size: int) -> None:
    async def tell(world: MemoryWorld, _: House) -> None:
        visit = await world.visit_with(lambda _: bytes(size))
        assert not visit.receipts
        good = unlock_at_door(
            world.carer("bo"), world.home, challenge=bytes(16), command_id=bytes(16), now_s=world.utc_s()
        )
        assert not (await world.visit_with(lambda _: good + bytes(1))).receipts

    disturb(tmp_path, 308, tell)
