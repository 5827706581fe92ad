"""Where entries are sealed, the broker carries what happened and cannot read it; the central log signs for it."""

from __future__ import annotations

import asyncio
import json
from base64 import b64decode
from typing import TYPE_CHECKING

import pytest
from nacl.exceptions import CryptoError
from nacl.public import PrivateKey, SealedBox

from firmware_protocol.codes import Code
from firmware_protocol.topics import Topics
from gatewayd.errors import GatewayError
from gatewayd.uplink.sealing import SEALED_TYPE, Sealer
from tests.support.memory_world import MemoryWorld
from tests.support.virtual_loop import run_virtual

if TYPE_CHECKING:
    from pathlib import Path

    from gatewayd.uplink.seam import Incoming

KEY = PrivateKey(bytes(range(32)))


def test_a_whole_unlock_reaches_the_central_log_and_says_nothing_on_the_broker(tmp_path: Path) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 70, unsealing_key=KEY)
        heard: list[bytes] = []

        def listen(message: Incoming) -> None:
            heard.append(message.payload)

        world.broker.listen(world.topics.log_entries, listen)
        world.broker.listen(f"carelock/v1/{world.home.gateway_id.hex()}/lock/+/state", listen)
        async with world.gateway():
            await world.settled()
            visit = await world.visit(world.carer("anna-of-the-north"))
            assert visit.receipts[-1].code is Code.DONE
            await world.settled()
        assert "outcome.done" in world.codes("carelock.command.outcome")
        assert world.central_store.alarms() == ()
        assert len(heard) >= 10
        for word in (b"anna", b"command", b"unlock", b"locks", b"outcome", world.home.lock_id.hex().encode()):
            assert not [payload for payload in heard if word in payload], word
        assert not [topic for topic in world.broker.retained if topic.endswith("/state") and "/lock/" in topic]

    run_virtual(story())


@pytest.mark.parametrize("sealed", [False, True])
def test_home_assistant_is_told_of_gateway_and_door_unless_entries_are_sealed(tmp_path: Path, *, sealed: bool) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 73, unsealing_key=KEY if sealed else None)
        world.discovery_prefix = "homeassistant"
        async with world.gateway():
            await world.settled()
        told = [topic.split("/")[3] for topic in world.broker.retained if topic.startswith("homeassistant/device/")]
        assert sorted(told) == ([] if sealed else sorted(["gateway", world.home.lock_id.hex()]))

    run_virtual(story())


def test_what_an_earlier_run_retained_of_a_door_is_taken_away(tmp_path: Path) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 71, unsealing_key=KEY)
        topic = world.topics.lock_state(world.home.lock_id)
        world.broker.retained[topic] = b"left behind"
        async with world.gateway():
            await world.settled()
            while topic in world.broker.retained:
                await asyncio.sleep(1)

    run_virtual(story())


def test_attack_an_entry_sealed_by_somebody_else_or_altered_on_the_way_is_no_entry(tmp_path: Path) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 72, unsealing_key=KEY)
        forged = Sealer(bytes(PrivateKey(bytes(32)).public_key), topics=world.topics, log_id=bytes(16))(0, b"{}")
        sealed = Sealer(bytes(KEY.public_key), topics=world.topics, log_id=bytes(16))(0, b"not a leaf")
        for payload in (forged, sealed, sealed.replace(b'"data_base64":"', b'"data_base64":"AAAA')):
            world.central.take_entry(world.home.gateway_id, payload, world.central_now())
        ((code, count),) = [(alarm.code, alarm.count) for alarm in world.central_store.alarms()]
        assert (code, count) == ("entry.unreadable", 3)

    run_virtual(story())


def test_a_sealed_entry_opens_with_the_logs_key_and_no_other() -> None:
    topics = Topics("0123456789abcdef")
    sealer = Sealer(bytes(KEY.public_key), topics=topics, log_id=bytes(16))
    outer = json.loads(sealer(7, b"the entry"))
    assert {key: value for key, value in outer.items() if key != "data_base64"} == {
        "datacontenttype": "application/octet-stream",
        "id": f"{bytes(16).hex()}/7",
        "source": "/gateways/0123456789abcdef",
        "specversion": "1.0",
        "type": SEALED_TYPE,
    }
    box = b64decode(outer["data_base64"])
    assert SealedBox(KEY).decrypt(box) == b"the entry"
    with pytest.raises(CryptoError):
        SealedBox(PrivateKey(bytes(32))).decrypt(box)
    assert sealer(7, b"the entry") != sealer(7, b"the entry")  # nobody can tell by comparing


@pytest.mark.parametrize("key", [bytes(32), b"\x01" + bytes(31)])
def test_attack_a_key_that_everybody_can_open_for_is_refused(key: bytes) -> None:
    with pytest.raises(GatewayError) as caught:
        Sealer(key, topics=Topics("0123456789abcdef"), log_id=bytes(16))
    assert caught.value.code == "seal.key_unusable"
