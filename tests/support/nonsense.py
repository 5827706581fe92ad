"""Who speaks without a right and without sense at every stage of a lock's life: a broker that lies, and bad input."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from firmware_protocol.checkpoint import Checkpoint, cosign, origin_of, sign_checkpoint
from firmware_protocol.constants import SERVICE_UUID
from firmware_protocol.vocabulary import Role
from gatewayd.errors import GatewayError
from gatewayd.journal.receipts import receipt_name
from gatewayd.link.radio import RadioError
from simulator.office import unlock_over_mqtt
from tests.support.life_outside import Cost, cost_problems
from tests.support.memory_radio import ADDRESS
from tests.support.memory_world import PROVIDER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from simulator.office import Office
    from tests.support.life_world import LifeWorld

AHEAD_S: Final = 10 * 365 * 86_400
"""How far the clocks of those who lie are ahead."""
NONSENSE: Final = (
    b"\x00",
    b"{",
    b'{"bundle": 7}',
    b"[" * 5_000,
    b"\xd2\x84\x43\xa1\x01\x27\xa0",
    b"\xff" * 9_000,
)
BAD_VALUES: Final = (b"", b"\x00", b"\x70\xff\xff", b"\xb0\x00\x04\xa1\x00\x01\x02", b"\xff" * 20)
"""For the characteristics: no fragments, or fragments of nothing."""
COMMANDS: Final = (
    (("pair", "no-such-file.json", "--label", "x"), "no-such-file.json"),
    (("pair", "{bad}", "--label", "CARELOCK:1:AA"), "bad.json"),
    (("decommission", "{bad}"), "bad.json"),
    (("provision", "{bad}"), "bad.json"),
    (("restore", "{bad}", "--recovery-key", "{bad}", "--papers", "{bad}"), "bad.json"),
    (("backup", "{bad}", "--recovery-key", "{bad}"), "bad.json"),
)


class LyingBroker:
    """It knows every topic and whatever was said, and has an office of its own."""

    def __init__(self, world: LifeWorld, office: Office) -> None:
        self._world = world
        self._office = office

    async def lie(self, recorded: Sequence[bytes]) -> None:
        """Say everything that could change something, live and retained; bundles that were good once only retained."""
        world, office = self._world, self._office
        home, topics = world.home, world.topics
        now_s = world.utc_s() + AHEAD_S
        origin = origin_of(home.gateway_id.hex(), bytes(16).hex())
        note = sign_checkpoint(
            Checkpoint(origin=origin, size=10**6, root=bytes(32)), key=office.signing_key("gateway"), name=origin
        )
        key = office.role_keys[Role.RECEIPT]
        operator = office.operator("person-eve", now_s=now_s)
        for topic, lie in (
            (topics.authority_keyset, office.keyset(now_s=now_s, version=99)),
            (topics.authority_state, office.state(home, now_s=now_s, seq=10_000)),
            (topics.authority_provider(PROVIDER), office.authority(home, PROVIDER, now_s=now_s)),
            (topics.authority_grant("lie"), office.grant(home, PROVIDER, "person-eve", now_s=now_s)),
            (topics.alarm, office.alarm(home, alarm_ref=bytes(16), epoch=bytes(16), exp_s=30)),
            (
                topics.command,
                unlock_over_mqtt(
                    operator, home, epoch=bytes(16), issued_s=1, command_id=world.entropy.token(16), now_s=now_s
                ),
            ),
            (
                topics.request("resend"),
                office.request(home, "resend", epoch=bytes(16), exp_s=30, request_id=bytes(16)),
            ),
            (topics.log_receipt, cosign(note, key=key, name=receipt_name(bytes(key.verify_key)), time_s=now_s)),
        ):
            world.send(topic, lie, retain=True)
        for bundle in recorded[-1:]:
            world.broker.retained[topics.command] = bundle
        await asyncio.sleep(5)


class BadInput:
    """Somebody whose every message and every file is broken."""

    def __init__(self, world: LifeWorld) -> None:
        self._world = world

    async def everywhere(self) -> None:
        """Bring it to each place that takes anything, and see that it costs nothing."""
        world = self._world
        before = Cost.now(world)
        self._to_the_commands()
        for payload in NONSENSE:
            for topic in (*world.topics.subscriptions, world.topics.request("info")):
                world.send(topic.replace("+", "nonsense"), payload)
        await self._at_the_door()
        await self._at_the_link()
        await asyncio.sleep(5)
        problems = list(cost_problems(before, Cost.now(world)))
        assert problems == [], problems

    def _to_the_commands(self) -> None:
        unit, bad = self._world.unit, self._world.store_folder / "bad.json"
        if unit is None:
            return
        bad.write_bytes(b'{"keyset": "')
        for arguments, said in COMMANDS:
            unit.command(*(each.format(bad=bad) for each in arguments), fails_with=said)

    async def _at_the_door(self) -> None:
        for value in BAD_VALUES:
            with suppress(*self._world.link_faults):
                link = await self._world.connect_phone()
                try:
                    await link.write_value(value)
                    await asyncio.sleep(1)
                finally:
                    await link.close()

    async def _at_the_link(self) -> None:
        radio = self._world.stranger_radio()
        for value in BAD_VALUES:
            with suppress(GatewayError, RadioError, TimeoutError):
                link = await radio.connect(await radio.find(SERVICE_UUID, ADDRESS, timeout_ms=3_000), timeout_ms=3_000)
                try:
                    await link.write_value(value)
                    await asyncio.sleep(1)
                finally:
                    await link.close()
