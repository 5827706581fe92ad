from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from firmware_protocol.checkpoint import parse_note
from firmware_protocol.signed import open_signed
from firmware_protocol.statements import Conflict
from firmware_protocol.vocabulary import Role
from simulator.central import CentralCredentials, CentralPost
from simulator.central_log import CentralLog
from simulator.central_store import CentralStore
from simulator.mqtt_client import Mail
from simulator.office import Office
from tests.support.homes import NOW_S
from tests.support.scripted_gateway import ScriptedGateway
from tests.support.small_journal import SmallJournal

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def office() -> Office:
    return Office(b"seed")


@pytest.fixture
def gateway(office: Office) -> ScriptedGateway:
    return ScriptedGateway(office.home("home-1"))


@pytest.fixture
def post(office: Office, gateway: ScriptedGateway, tmp_path: Path) -> CentralPost:
    saved = CentralCredentials(
        receipt_key=office.role_keys[Role.RECEIPT],
        roots=office.root_public_keys,
        keyset=office.keyset(now_s=NOW_S),
        doors=(office.door(gateway.home),),
    )
    saved.save(tmp_path / "credentials.json")
    credentials = CentralCredentials.load(tmp_path / "credentials.json")
    log = CentralLog(store=CentralStore(), directory=credentials.directory(), receipt_key=credentials.receipt_key)
    return CentralPost(log)


@pytest.fixture
def journal(gateway: ScriptedGateway) -> SmallJournal:
    journal = SmallJournal(gateway.home)
    journal.beat()
    journal.beat()
    return journal


async def test_entries_and_their_checkpoint_are_answered_with_a_receipt(
    post: CentralPost, gateway: ScriptedGateway, journal: SmallJournal
) -> None:
    for leaf in journal.leaves:
        await post.deliver(gateway, Mail(topic=gateway.topics.log_entries, payload=leaf))
    assert gateway.published == []
    await post.deliver(gateway, Mail(topic=gateway.topics.log_checkpoint, payload=journal.checkpoint()))
    ((topic, receipt, retained),) = gateway.published
    assert (topic, retained) == (gateway.topics.log_receipt, False)
    assert receipt.startswith(journal.checkpoint())
    assert len(parse_note(receipt).signatures) == 2


async def test_a_greeting_says_how_far_each_journal_is_held(
    post: CentralPost, gateway: ScriptedGateway, journal: SmallJournal, office: Office
) -> None:
    await post.greet(gateway)
    assert gateway.published == []
    for leaf in journal.leaves:
        await post.deliver(gateway, Mail(topic=gateway.topics.log_entries, payload=leaf))
    await post.deliver(gateway, Mail(topic=gateway.topics.log_checkpoint, payload=journal.checkpoint()))
    await post.greet(gateway)
    topic, greeting, _ = gateway.published[-1]
    conflict = open_signed(Conflict, greeting, bytes(office.role_keys[Role.RECEIPT].verify_key))
    assert (topic, conflict.size, conflict.checkpoint) == (gateway.topics.log_receipt, 2, journal.checkpoint())


@pytest.mark.parametrize(
    "topic", ["carelock/v1/zz/log/entries", "carelock/v1", "", "other/0011223344556677/log/entries"]
)
async def test_mail_from_nowhere_is_nobodys(post: CentralPost, gateway: ScriptedGateway, topic: str) -> None:
    await post.deliver(gateway, Mail(topic=topic, payload=b"{}"))
    assert gateway.published == []


async def test_mail_that_was_never_asked_for_is_left_alone(post: CentralPost, gateway: ScriptedGateway) -> None:
    await post.deliver(gateway, Mail(topic=gateway.topics.log_receipt, payload=b"\xff"))
    assert gateway.published == []
