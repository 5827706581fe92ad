"""The broker of docs/operations.md, as it is written there: each party can do what it must, and nothing else."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from firmware_protocol.topics import Topics
from gatewayd.uplink.broker import PahoBroker
from gatewayd.uplink.seam import BrokerError, BrokerSession, BrokerSettings, Outgoing, PublishOutcome, TlsSettings
from tests.support.memory_broker import matches
from tests.support.operations_document import DOCUMENT, documented_mosquitto
from tests.support.small_ca import SmallCa

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

ROOT = DOCUMENT.parents[1]
OURS, OTHERS = Topics("0123456789abcdef"), Topics("fedcba9876543210")
LOCK = bytes(8)
WILL = Outgoing(topic=OURS.state, payload=b"offline", retain=True)

GATEWAY_SAYS = (
    OURS.state,
    OURS.info,
    OURS.health,
    OURS.lock_state(LOCK),
    OURS.lock_availability(LOCK),
    OURS.log_entries,
    OURS.log_checkpoint,
    OURS.response,
    OURS.response_to("info"),
)
WRITES = {
    "central-log": (OURS.log_receipt,),
    "alarm-centre": (OURS.command, OURS.request("info")),
    "alarm-intake": (OURS.alarm,),
    "authority": (
        OURS.authority_keyset,
        OURS.authority_state,
        OURS.authority_provider("north"),
        OURS.authority_grant("1"),
    ),
}
READS = {
    "central-log": (OURS.log_entries, OURS.log_checkpoint),
    "alarm-centre": tuple(set(GATEWAY_SAYS) - {OURS.log_entries, OURS.log_checkpoint}),
    "alarm-intake": (),
    "authority": (),
}
EVERY_TOPIC = (*GATEWAY_SAYS, *(topic for topics in WRITES.values() for topic in topics))


class Site:
    """The broker, and whoever has a certificate."""

    def __init__(self, port: int, ca: SmallCa, stack: AsyncExitStack) -> None:
        self._port = port
        self._ca = ca
        self._stack = stack

    async def enter(self, common_name: str) -> BrokerSession:
        certificate, key = self._ca.issue(common_name)
        tls = TlsSettings(ca_file=self._ca.file, cert_file=certificate, key_file=key)
        settings = BrokerSettings(host="127.0.0.1", port=self._port, client_id=f"client-{common_name}", tls=tls)
        session = await PahoBroker(settings).connect(WILL)
        self._stack.push_async_callback(session.close)
        return session


@asynccontextmanager
async def site(folder: Path) -> AsyncIterator[Site]:
    ca = SmallCa.make(folder)
    async with documented_mosquitto(folder, ca) as broker, AsyncExitStack() as stack:
        yield Site(broker.port, ca, stack)


async def may_write(session: BrokerSession, topic: str) -> bool:
    return await session.publish(Outgoing(topic=topic, payload=b"x")) is not PublishOutcome.REFUSED


async def heard(session: BrokerSession, sender: BrokerSession, own: str) -> list[str]:
    """Return what reaches `session`, up to the message on `own` that ends it."""
    await sender.publish(Outgoing(topic=own, payload=b"end"))
    topics = []
    async with asyncio.timeout(30):
        while (message := await session.next_message()).payload != b"end":
            topics.append(message.topic)
    return topics


async def test_a_gateway_may_say_and_hear_what_it_must(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        gateway = await here.enter(OURS.gateway)
        await gateway.subscribe(OURS.subscriptions)
        assert [topic for topic in GATEWAY_SAYS if not await may_write(gateway, topic)] == []
        for name, topics in WRITES.items():
            party = await here.enter(name)
            assert [topic for topic in topics if not await may_write(party, topic)] == []
        sent = {topic for topics in WRITES.values() for topic in topics}
        async with asyncio.timeout(30):
            assert {(await gateway.next_message()).topic for _ in sent} == sent


@pytest.mark.parametrize("name", WRITES)
async def test_each_party_may_write_what_it_must_and_nothing_else(tmp_path: Path, name: str) -> None:
    async with site(tmp_path) as here:
        party = await here.enter(name)
        assert [topic for topic in EVERY_TOPIC if await may_write(party, topic)] == sorted(
            WRITES[name], key=EVERY_TOPIC.index
        )


@pytest.mark.parametrize("name", [name for name, topics in READS.items() if topics])
async def test_each_party_hears_what_it_must_and_nothing_else(tmp_path: Path, name: str) -> None:
    async with site(tmp_path) as here:
        party, gateway = await here.enter(name), await here.enter(OURS.gateway)
        await party.subscribe(["carelock/v1/#"])
        last = READS[name][-1]
        for topic in GATEWAY_SAYS:
            await gateway.publish(Outgoing(topic=topic, payload=b"x"))
        assert set(await heard(party, gateway, last)) == set(READS[name])


async def test_attack_a_stolen_certificate_of_one_gateway_reaches_no_other(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        thief, other, office = (
            await here.enter(OURS.gateway),
            await here.enter(OTHERS.gateway),
            await here.enter("authority"),
        )
        await thief.subscribe(["carelock/v1/#", "#"])
        theirs = [topic.replace(OURS.gateway, OTHERS.gateway) for topic in EVERY_TOPIC]
        assert [topic for topic in theirs if await may_write(thief, topic)] == []
        # Nor may it command itself, sign itself rights, or take its own receipts back.
        inwards = [topic for topics in WRITES.values() for topic in topics]
        assert [topic for topic in inwards if await may_write(thief, topic)] == []
        for topic in GATEWAY_SAYS:
            await other.publish(Outgoing(topic=topic.replace(OURS.gateway, OTHERS.gateway), payload=b"private"))
        assert await heard(thief, office, OURS.authority_keyset) == []


@pytest.mark.parametrize("name", ["+", "#", "carelock", "stranger"])
async def test_attack_a_certificate_with_another_name_may_do_nothing(tmp_path: Path, name: str) -> None:
    async with site(tmp_path) as here:
        try:
            stranger = await here.enter(name)
        except BrokerError:
            return  # mosquitto lets no name with a wildcard in
        await stranger.subscribe(["#"])
        assert [topic for topic in EVERY_TOPIC if await may_write(stranger, topic)] == []


class DocumentedCa(SmallCa):
    """The authority as docs/operations.md has people make it, with the commands that stand there."""

    @classmethod
    def make(cls, folder: Path, name: str = "ca") -> DocumentedCa:
        ca = cls(folder, name)
        _documented_shell(folder, "openssl req -x509 ", "")
        return ca

    def issue(self, common_name: str, **_others: object) -> tuple[Path, Path]:
        name = "localhost" if common_name == "broker" else common_name
        _documented_shell(self.folder, "openssl req -new ", name)
        return self.folder / f"{name}.pem", self.folder / f"{name}.key"


def _documented_shell(folder: Path, begin: str, name: str) -> None:
    (block,) = re.findall(rf"^```sh\n({begin}.*?)^```$", DOCUMENT.read_text(), re.DOTALL | re.MULTILINE)
    command = ["sh", "-euc", block]
    subprocess.run(command, cwd=folder, env=os.environ | {"name": name}, check=True, capture_output=True, timeout=60)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl command to make certificates")
async def test_certificates_made_as_the_page_says_let_a_gateway_in_and_the_broker_shows_its_own(tmp_path: Path) -> None:
    ca = DocumentedCa.make(tmp_path)
    certificate, key = ca.issue(OURS.gateway)
    async with documented_mosquitto(tmp_path, ca) as broker:
        tls = TlsSettings(ca_file=ca.file, cert_file=certificate, key_file=key)
        settings = BrokerSettings(host="localhost", port=broker.port, client_id="gateway", tls=tls)
        session = await PahoBroker(settings).connect(WILL)
        assert await may_write(session, OURS.log_entries)
        assert not await may_write(session, OTHERS.log_entries)
        await session.close()


async def test_without_a_certificate_there_is_no_session(tmp_path: Path) -> None:
    ca = SmallCa.make(tmp_path)
    async with documented_mosquitto(tmp_path, ca) as broker:
        settings = BrokerSettings(
            host="127.0.0.1", port=broker.port, client_id="nobody", tls=TlsSettings(ca_file=ca.file)
        )
        with pytest.raises(BrokerError):
            await PahoBroker(settings).connect(WILL)


def test_every_topic_that_a_gateway_subscribes_to_has_somebody_who_may_write_it() -> None:
    written = [topic for topics in WRITES.values() for topic in topics]
    for wanted in OURS.subscriptions:
        assert any(matches(wanted, topic) for topic in written), wanted


def test_every_alarm_of_the_central_log_is_explained() -> None:
    sources = [(ROOT / "simulator" / name).read_text() for name in ("central_log.py", "central_locks.py")]
    codes = {
        code for text in sources for code in re.findall(r'"((?:entry|checkpoint|log|gateway|lock)\.[a-z_]+)"', text)
    }
    rows = [line for line in DOCUMENT.read_text().splitlines() if line.startswith("| `")]
    explained = {code for row in rows for code in re.findall(r"`([a-z]+\.[a-z_]+)`", row.split(" | ")[0])}
    assert codes
    assert codes <= explained
