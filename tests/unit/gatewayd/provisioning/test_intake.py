"""Papers enter the store whole, verified up to the pinned roots, and never over newer ones."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from gatewayd.identity import Identity
from gatewayd.provisioning.intake import take_in
from gatewayd.provisioning.papers import OBJECT_COUNT_MAX, Papers, ProvisioningError, read_papers
from gatewayd.store import locks, trust
from gatewayd.store.entries import load_marks
from gatewayd.store.inspection import read_trust
from gatewayd.store.store import Store
from gatewayd.timekeeping import Instant
from simulator.office import Office
from tests.support.gateway_folder import NOW_S, PROVIDER, GatewayFolder, text_of
from tests.support.seeded_entropy import SeededEntropy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path


class StillClock:
    """Shows the same moment for ever."""

    def now(self) -> Instant:
        return Instant(monotonic_ms=1_000, boottime_ms=1_000, utc_ms=0)


@pytest.fixture
def folder(tmp_path: Path) -> GatewayFolder:
    return GatewayFolder(tmp_path)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = Store.create(tmp_path / "store.db", log_id=bytes(16))
    yield store
    await store.close()


@pytest.fixture
def gateway(folder: GatewayFolder, store: Store) -> Gateway:
    return Gateway(folder, store)


class Gateway:
    """One gateway's store with its keys and pinned roots."""

    def __init__(self, folder: GatewayFolder, store: Store) -> None:
        self.office = folder.office
        self.home = folder.home
        self.folder = folder
        self.store = store
        self.identity = Identity(signing_key=folder.home.gateway_signing_key, link_keys=folder.home.gateway_link_keys)
        self.roots: Sequence[bytes] = folder.office.root_public_keys
        self.paired: bytes | None = None

    async def take(self, **other: object) -> tuple[str, ...]:
        papers = Papers.model_validate(self.folder.papers(**other))
        return await take_in(
            papers,
            self.store,
            identity=self.identity,
            roots=self.roots,
            clock=StillClock(),
            entropy=SeededEntropy(1),
            paired=self.paired,
        )

    async def refusal(self, **other: object) -> tuple[str, ...]:
        """What is wrong; nothing may have been kept."""
        before = await self.contents()
        with pytest.raises(ProvisioningError) as caught:
            await self.take(**other)
        assert await self.contents() == before
        return caught.value.problems

    async def contents(self) -> tuple[Any, ...]:
        return await self.store.run(
            lambda tx: (
                read_trust(tx),
                trust.load_authorities(tx),
                trust.load_authority_state(tx),
                locks.load_lock_homes(tx),
                load_marks(tx).size,
            )
        )


def empty() -> dict[str, object]:
    return {"authorities": None, "state": None, "doors": None, "pairing_orders": None}


async def test_papers_are_kept_and_the_journal_tells_of_it(gateway: Gateway) -> None:
    lock = gateway.home.lock_id.hex()
    assert await gateway.take() == (
        "keyset 1: saved",
        f"authority of {PROVIDER}: saved",
        "state 1/1: saved",
        f"lock {lock}, owner epoch 1: saved",
    )
    (home,) = await gateway.store.run(locks.load_lock_homes)
    assert (home.lock_id, home.owner_epoch) == (gateway.home.lock_id, 1)
    assert home.door == gateway.office.door(gateway.home)
    assert (await gateway.store.run(load_marks)).size == 2


async def test_the_same_papers_again_change_nothing(gateway: Gateway) -> None:
    await gateway.take()
    before = await gateway.contents()
    assert all(line.endswith("is held already") for line in await gateway.take())
    assert await gateway.contents() == before


async def test_the_keyset_may_be_left_out_once_it_is_held(gateway: Gateway) -> None:
    assert await gateway.refusal(keyset=None) == ("keyset: is missing, and the gateway has none yet",)
    await gateway.take(**empty())
    assert "state 1/1: saved" in await gateway.take(keyset=None)


async def test_a_keyset_of_other_roots_is_refused(gateway: Gateway) -> None:
    stranger = Office(b"stranger")
    (problem,) = await gateway.refusal(keyset=text_of(stranger.keyset(now_s=NOW_S)))
    assert problem == "keyset: fewer than two pinned root keys signed the keyset (command.bad_signature)"


async def test_a_keyset_signed_by_one_root_twice_is_refused(gateway: Gateway) -> None:
    once = gateway.office.roots[:1] * 2
    problems = await gateway.refusal(keyset=text_of(gateway.office.keyset(now_s=NOW_S, signers=once)))
    assert problems[0].startswith("keyset: ")


async def test_every_paper_that_is_not_in_order_is_named_at_once(gateway: Gateway) -> None:
    stranger = Office(b"stranger")
    home = gateway.home
    problems = await gateway.refusal(
        authorities=[text_of(stranger.authority(home, PROVIDER, now_s=NOW_S)), text_of(b"\xa0")],
        state=text_of(gateway.office.state(stranger.home("other"), now_s=NOW_S)),
        doors=[text_of(stranger.door(home))],
        pairing_orders=[text_of(gateway.office.pairing_order(home, now_s=NOW_S))],
    )
    assert [problem.partition(":")[0] for problem in problems] == [
        "authorities[0]",
        "authorities[1]",
        "state",
        "doors[0]",
        "pairing_orders[0]",
    ]
    assert "command.wrong_audience" in problems[2]


async def test_another_gateways_papers_are_refused(gateway: Gateway) -> None:
    other = gateway.office.home("other")
    ours, theirs = gateway.home.gateway_id.hex(), other.gateway_id.hex()
    problems = await gateway.refusal(
        authorities=[],
        state=None,
        doors=[text_of(gateway.office.door(other))],
        pairing_orders=[text_of(gateway.office.pairing_order(other, now_s=NOW_S))],
    )
    assert problems == (
        f"doors[0]: is for gateway {theirs}, this one is {ours}",
        f"pairing_orders[0]: is for gateway {theirs}, this one is {ours}",
    )


async def test_papers_for_another_link_key_are_refused(gateway: Gateway) -> None:
    gateway.identity = replace(gateway.identity, link_keys=gateway.office.home("other").gateway_link_keys)
    problems = await gateway.refusal()
    assert problems == tuple(
        f"{where}: names another link key than ours: which gateway-link.key was it issued for?"
        for where in ("doors[0]", "pairing_orders[0]")
    )


async def test_a_door_and_its_order_come_together(gateway: Gateway) -> None:
    lock = gateway.home.lock_id.hex()
    assert await gateway.refusal(doors=[]) == (f"pairing_orders[0]: lock {lock} has no Door in this file",)
    assert await gateway.refusal(pairing_orders=[]) == (f"doors: lock {lock} has no pairing order in this file",)


async def test_a_door_with_another_locks_link_key_is_refused(gateway: Gateway) -> None:
    # A key swapped into the Door would make this gateway speak to somebody else's lock.
    swapped = replace(gateway.home, lock_link_keys=gateway.office.home("other").lock_link_keys)
    assert await gateway.refusal(doors=[text_of(gateway.office.door(swapped))]) == (
        "pairing_orders[0]: its fingerprint is not that of the Door's lock_link_key",
    )


async def test_a_higher_owner_epoch_replaces_and_a_lower_one_is_refused(gateway: Gateway) -> None:
    async def take_epoch(epoch: int) -> tuple[str, ...]:
        order = gateway.office.pairing_order(gateway.home, now_s=NOW_S, owner_epoch=epoch)
        return await gateway.take(pairing_orders=[text_of(order)])

    gateway.paired = gateway.home.lock_id
    lock = gateway.home.lock_id.hex()
    await take_epoch(2)
    assert f"lock {lock}, owner epoch 3: saved" in await take_epoch(3)
    with pytest.raises(ProvisioningError, match="owner epoch 2 is refused, 3 is held"):
        await take_epoch(2)
    assert f"lock {lock}, owner epoch {3 + 65_536}: saved" in await take_epoch(3 + 65_536)
    with pytest.raises(ProvisioningError, match="leaps ahead"):
        await take_epoch(3 + 65_536 + 65_537)


async def test_a_newer_order_that_no_lock_has_taken_yet_is_refused(gateway: Gateway) -> None:
    """Kept, it would begin session counters anew that the lock goes on counting: we would look like our own clone."""
    await gateway.take()
    order = gateway.office.pairing_order(gateway.home, now_s=NOW_S, owner_epoch=2)
    assert await gateway.refusal(pairing_orders=[text_of(order)]) == (
        f"lock {gateway.home.lock_id.hex()}: owner epoch 2 is for the lock to obey: hand it over with pair",
    )


async def test_with_one_lock_the_others_in_the_papers_are_not_taken_in(gateway: Gateway) -> None:
    gateway.paired = bytes(8)
    lines = await gateway.take()
    assert f"lock {gateway.home.lock_id.hex()}: left for its own pairing" in lines
    assert await gateway.store.run(locks.load_lock_homes) == ()


async def test_another_order_of_the_same_epoch_is_refused(gateway: Gateway) -> None:
    await gateway.take()
    other = gateway.office.pairing_order(gateway.home, now_s=NOW_S + 1)
    assert await gateway.refusal(pairing_orders=[text_of(other)]) == (
        f"lock {gateway.home.lock_id.hex()}: owner epoch 1 is held already, by another pairing order",
    )


async def test_older_papers_never_replace_newer_ones(gateway: Gateway) -> None:
    office, home = gateway.office, gateway.home
    await gateway.take(
        keyset=text_of(office.keyset(now_s=NOW_S, version=3)),
        authorities=[text_of(office.authority(home, PROVIDER, now_s=NOW_S + 100))],
        state=text_of(office.state(home, now_s=NOW_S, seq=5, keyset_version=3)),
    )
    before = await gateway.contents()
    lines = await gateway.take(state=text_of(office.state(home, now_s=NOW_S, seq=4, keyset_version=3)))
    assert lines[:3] == (
        "keyset 1: left alone, 3 is held",
        f"authority of {PROVIDER}: left alone, a later one is held",
        "state: left alone, 3/5 is held",
    )
    assert await gateway.contents() == before


async def test_a_state_that_leaps_ahead_is_refused(gateway: Gateway) -> None:
    await gateway.take()
    leap = gateway.office.state(gateway.home, now_s=NOW_S, seq=65_538)
    (problem,) = await gateway.refusal(state=text_of(leap))
    assert problem == "state: an authority state that leaps ahead (command.superseded)"


async def test_new_roots_take_over_from_a_keyset_that_they_do_not_bear_out(gateway: Gateway) -> None:
    await gateway.take(**empty())
    stranger = Office(b"stranger")
    gateway.roots = stranger.root_public_keys
    keyset = text_of(stranger.keyset(now_s=NOW_S, version=2))
    assert await gateway.take(keyset=keyset, **empty()) == ("keyset 2: saved",)


async def test_an_authority_of_an_earlier_keyset_gives_way(gateway: Gateway) -> None:
    await gateway.take()
    stranger = Office(b"stranger")
    gateway.roots = stranger.root_public_keys
    papers = empty() | {
        "keyset": text_of(stranger.keyset(now_s=NOW_S, version=2)),
        "authorities": [text_of(stranger.authority(gateway.home, PROVIDER, now_s=NOW_S - 1_000))],
        "state": text_of(stranger.state(gateway.home, now_s=NOW_S, keyset_version=2)),
    }
    assert await gateway.take(**papers) == (
        "keyset 2: saved",
        f"authority of {PROVIDER}: saved",
        "state 2/1: saved",
    )


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "the file is not JSON"),
        (b"\xff", "the file is not JSON"),
        (b"[" * 100_000, "the file is not JSON"),
        (b"[]", "holds no papers"),
        (b'{"keysets": "AA"}', "keysets: is none of the names that papers have: keyset, "),
        (b'{"doors": ["AA", "*"]}', "doors[1]: is not base64url text"),
        (b'{"doors": {}}', "doors: is no list, […]"),
        (b'{"doors": [3]}', "doors[0]: is not base64url text"),
        ('{"state": "å"}'.encode(), "state: is not base64url text"),
        (b'{"keyset": ""}', "keyset: "),
        (b'{"\\u001b[2J": 1}', "\\x1b[2J: "),
    ],
)
def test_a_file_that_is_no_papers_is_refused_with_its_place(content: bytes, problem: str) -> None:
    with pytest.raises(ProvisioningError) as caught:
        read_papers(content)
    (told,) = caught.value.problems
    assert told.startswith(problem)
    assert told.isprintable()


@pytest.mark.parametrize(("count", "taken"), [(OBJECT_COUNT_MAX, True), (OBJECT_COUNT_MAX + 1, False)])
def test_a_file_holds_a_bounded_number_of_papers(count: int, *, taken: bool) -> None:
    content = b'{"doors": [' + b",".join([b'"AA"'] * count) + b"]}"
    if taken:
        assert len(read_papers(content).doors) == count
    else:
        with pytest.raises(ProvisioningError, match="doors: "):
            read_papers(content)


@pytest.mark.parametrize("raw", [b"\xfb\xff", b"a", b"ab", b"abc"])
def test_papers_are_base64url_with_or_without_padding(raw: bytes) -> None:
    padded = base64.urlsafe_b64encode(raw).decode()
    for text in (padded, padded.rstrip("=")):
        assert Papers.model_validate({"keyset": text}).keyset == raw
