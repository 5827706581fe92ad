"""docs/protocol.md says what the code does: tables, states and examples."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import pytest

from firmware_protocol import constants
from firmware_protocol.codes import Code
from firmware_protocol.constants import PHONE_TX_UUID, SERVICE_UUID
from firmware_protocol.directions import FROM_GATEWAY, FROM_LOCK
from firmware_protocol.errors import RemoteProtocolError
from firmware_protocol.fragments import Fragmenter, FragmentKind, Reassembler
from firmware_protocol.hello import (
    FROM_GATEWAY_PLAIN,
    FROM_LOCK_PLAIN,
    TO_PHONE_PLAIN,
    LockStatus,
    PlainClose,
    encode_plain,
)
from firmware_protocol.lock_log import IMPORTANCE, RecordType
from firmware_protocol.messages import Confirm, Message, State, StateGet, encode_record
from firmware_protocol.noise import KK, CipherState, HandshakeState
from firmware_protocol.relay import AnswerKind, RelayAnswer
from firmware_protocol.sealed import Sealed, SealedBody
from firmware_protocol.session import GatewaySession, LinkSession, LockSession, SessionState
from firmware_protocol.signed import SignedMap
from firmware_protocol.topics import Topics
from firmware_protocol.vectors.examples import (
    GATEWAY_EPHEMERAL,
    GATEWAY_LINK,
    LOCK_EPHEMERAL,
    LOCK_ID,
    LOCK_LINK,
    VALUES,
)
from firmware_protocol.vocabulary import (
    Action,
    Bolt,
    Decider,
    DoorLeaf,
    OfflineClass,
    Parcel,
    Phase,
    Rights,
    Role,
    Tier,
)
from gatewayd.journal.events import GatewayHeartbeat
from tests.support.protocol_document import PATH, as_lines, examples, examples_in, key_rows, tables
from tests.support.schema_documents import STATE_TOPICS, erased_schema, event_schema, sealed_schema

if TYPE_CHECKING:
    from collections.abc import Callable
    from enum import IntEnum, IntFlag

    from firmware_protocol.schema import WireMap

TEXT: Final = PATH.read_text()
PLAIN: Final = {**FROM_GATEWAY_PLAIN, **FROM_LOCK_PLAIN, **TO_PHONE_PLAIN}
RECORDS: Final = {**FROM_GATEWAY, **FROM_LOCK}
MAPS: Final[list[type[WireMap]]] = [
    *VALUES,
    *PLAIN.values(),
    LockStatus,
    *RECORDS.values(),
    RelayAnswer,
    Sealed,
    SealedBody,
]
WORDS: Final[list[type[IntEnum | IntFlag]]] = [
    Action,
    Rights,
    OfflineClass,
    Role,
    Tier,
    Phase,
    Bolt,
    DoorLeaf,
    Decider,
    Parcel,
    AnswerKind,
    FragmentKind,
    RecordType,
]


def columns(rows: list[tuple[str, ...]], count: int) -> list[tuple[str, ...]]:
    """Leave out the words for people."""
    return [row[:count] for row in rows]


# ------------------------------------------------------------------------------------------------------------ tables


@pytest.mark.parametrize("kind", MAPS, ids=lambda kind: kind.__name__)
def test_the_keys_of_each_map_are_those_of_its_class(kind: type[WireMap]) -> None:
    documented = tables(TEXT, "keys").get(kind.__name__, [])
    assert columns(documented, 4) == key_rows(kind)
    assert all(row[4] for row in documented)


def test_no_table_of_keys_is_about_a_class_that_does_not_exist() -> None:
    assert tables(TEXT, "keys").keys() <= {kind.__name__ for kind in MAPS}


def test_the_signed_objects_have_these_domains_and_sizes() -> None:
    documented = tables(TEXT, "domains")["objects"]
    assert [(name, domain, size) for name, domain, _, size in documented] == [
        (kind.__name__, kind.DOMAIN, str(kind.SIZE_MAX)) for kind in VALUES
    ]


def test_every_signed_object_is_documented() -> None:
    assert {kind.__name__ for kind in SignedMap.__subclasses__()} == {kind.__name__ for kind in VALUES}


@pytest.mark.parametrize("kind", WORDS, ids=lambda kind: kind.__name__)
def test_the_numbers_of_each_word_are_those_of_the_code(kind: type[IntEnum | IntFlag]) -> None:
    documented = tables(TEXT, "words")[kind.__name__]
    assert columns(documented, 2) == [(str(int(member)), str(member.name)) for member in kind]
    assert all(row[-1] for row in documented)


def test_each_kind_of_log_record_has_its_class() -> None:
    documented = tables(TEXT, "words")["RecordType"]
    assert [row[2] for row in documented] == [IMPORTANCE[kind].name for kind in RecordType]


def test_plain_messages_have_these_types_and_directions() -> None:
    documented = {row[0]: row[1:] for row in tables(TEXT, "plain")["types"]}
    assert {number: row[0] for number, row in documented.items()} == {
        f"{kind.TYPE:02x}": kind.__name__ for kind in PLAIN.values()
    }
    for number, (_, sender, receiver) in documented.items():
        assert ("gateway" in sender) is (int(number, 16) in FROM_GATEWAY_PLAIN)
        assert ("phone" in receiver) is (int(number, 16) in TO_PHONE_PLAIN)
        assert ("gateway" in receiver) is (int(number, 16) in FROM_LOCK_PLAIN)


def test_records_have_these_types_and_directions() -> None:
    def said(is_sent: bool) -> str:  # noqa: FBT001 - the answer to a question
        return "yes" if is_sent else "no"

    assert tables(TEXT, "records")["types"] == [
        (f"{number:02x}", kind.__name__, said(number in FROM_GATEWAY), said(number in FROM_LOCK))
        for number, kind in sorted(RECORDS.items())
    ]


def test_the_codes_are_those_of_the_table() -> None:
    assert tables(TEXT, "codes")["all"] == [
        (
            f"{code.wire:02x}",
            code.name,
            code.dotted,
            code.code_class.value,
            "yes" if code.may_have_executed else "no",
        )
        for code in Code
    ]


def test_the_limits_are_those_of_the_constants() -> None:
    documented = tables(TEXT, "limits")["all"]
    numbers = {name: value for name, value in vars(constants).items() if name.isupper() and isinstance(value, int)}
    assert {name: int(value) for name, value, _, _ in documented} == numbers
    assert all(meaning for *_, meaning in documented)


def test_the_uuids_are_those_of_the_constants() -> None:
    documented = {row[1]: row[2] for row in tables(TEXT, "uuids")["gatt"]}
    assert documented == {name: value for name, value in vars(constants).items() if name.endswith("_UUID")}
    assert SERVICE_UUID in documented.values()
    assert PHONE_TX_UUID in documented.values()


def test_the_topics_are_those_of_the_code() -> None:
    topics = Topics.of(bytes(8))
    below = f"{topics.state.removesuffix('state')}"
    known = [
        topics.state,
        topics.info,
        topics.health,
        topics.lock_state(LOCK_ID).replace(LOCK_ID.hex(), "<lock id>"),
        topics.lock_availability(LOCK_ID).replace(LOCK_ID.hex(), "<lock id>"),
        topics.log_entries,
        topics.log_checkpoint,
        topics.log_receipt,
        topics.command,
        topics.alarm,
        topics.response,
        topics.response_to("<name>"),
        topics.request("info"),
        topics.request("<verb>"),
        topics.authority_keyset,
        topics.authority_state,
        topics.authority_provider("<name>"),
        topics.authority_grant("<name>"),
    ]
    documented = tables(TEXT, "topics")["all"]
    assert [row[0] for row in documented] == [topic.removeprefix(below) for topic in known]
    incoming = {re.sub(r"/(<name>|<verb>|info)$", "/+", row[0]) for row in documented if row[1] == "in"}
    assert incoming == {topic.removeprefix(below) for topic in topics.subscriptions}


@pytest.mark.parametrize(
    ("name", "schema"),
    [("entry", event_schema(GatewayHeartbeat)), ("sealed entry", sealed_schema()), ("erased entry", erased_schema())],
    ids=["entry", "sealed entry", "erased entry"],
)
def test_the_attributes_of_an_entry_are_those_of_its_schema(name: str, schema: dict[str, Any]) -> None:
    documented = tables(TEXT, "attributes")[name]
    present = {True: "always", False: "may"}
    assert columns(documented, 2) == [
        (attribute, present[attribute in schema["required"]]) for attribute in sorted(schema["properties"])
    ]
    assert all(meaning for *_, meaning in documented)


def test_the_members_of_retained_json_are_those_of_its_models() -> None:
    topics = {row[0]: row[3] for row in tables(TEXT, "topics")["all"]}
    for topic, document in STATE_TOPICS.items():
        # After JSON the row names the members in backticks; `tables` has taken them off.
        words = set(re.findall(r"[a-z_]+", topics[topic.replace("+", "<lock id>")].partition(":")[0]))
        assert document.model_fields.keys() <= words, topic


def test_every_section_that_the_code_cites_is_there() -> None:
    sections = {int(number) for number in re.findall(r"^## (\d+) ", TEXT, re.MULTILINE)}
    cited = set()
    for path in (PATH.parents[1] / "firmware_protocol").rglob("*.py"):
        for line in re.findall(r"docs/protocol\.md ([^\n]*)", path.read_text()):
            cited |= {int(number) for number in re.findall(r"§(\d+)", line)}
    assert sections == set(range(1, 22))
    assert cited <= sections


# ---------------------------------------------------------------------------------------------------------- examples


@pytest.mark.parametrize("name", list(examples()))
def test_each_example_is_what_the_code_makes(name: str) -> None:
    assert examples_in(TEXT)[name] == as_lines(examples()[name])


def test_there_is_no_example_of_nothing_and_each_size_is_right() -> None:
    assert examples_in(TEXT).keys() == examples().keys()
    sizes = re.findall(r", (\d+) bytes\n\n<!-- example: ([^>]+) -->", TEXT)
    assert {name: int(size) for size, name in sizes} == {name: len(data) for name, data in examples().items()}


# ------------------------------------------------------------------------------------------------------------ states


class Far:
    """The other end of a link, made from the primitives: says anything at any time."""

    def __init__(self, *, is_gateway: bool) -> None:
        own, peer = ("gateway HELLO", "lock HELLO") if is_gateway else ("lock HELLO", "gateway HELLO")
        self.hello = examples()[own]
        self.peer_hello = examples()[peer]
        self._is_gateway = is_gateway
        self._fragmenter = Fragmenter(512)
        self._noise = HandshakeState(
            KK,
            initiator=is_gateway,
            prologue=examples()["prologue"],
            s=GATEWAY_LINK if is_gateway else LOCK_LINK,
            e=GATEWAY_EPHEMERAL if is_gateway else LOCK_EPHEMERAL,
            rs=LOCK_LINK.public if is_gateway else GATEWAY_LINK.public,
            psk=None,
        )
        self._cipher: CipherState | None = None

    def handshake(self, peer: LinkSession[Any]) -> bytes:
        """Return the handshake message that is due to `peer`, or one that never is."""
        if self._cipher is not None or peer.state is SessionState.HELLO:
            return bytes(48)
        if self._is_gateway:
            return self._noise.write_message(b"")
        self._noise.read_message(examples()["handshake message 1"])
        message = self._noise.write_message(examples()["LockStatus"])
        _, self._cipher = self._noise.split()
        return message

    def read_answer(self, message: bytes) -> None:
        """Gateway: take handshake message 2."""
        self._noise.read_message(message)
        self._cipher, _ = self._noise.split()

    def record(self, message: Message) -> bytes:
        """Return a record, sealed where there are keys."""
        plaintext = encode_record(message, 1)
        return bytes(32) + plaintext if self._cipher is None else self._cipher.encrypt(b"", plaintext)

    def say(self, peer: LinkSession[Any], kind: FragmentKind, data: bytes) -> str:
        """Return what `peer` does with a message, in the words of §8.3."""
        before = peer.state
        try:
            events = [
                event for value in self._fragmenter.fragment(kind, data) for event in peer.receive_value(value, 0)
            ]
        except RemoteProtocolError as error:
            return error.code.name
        names = [type(event).__name__ for event in events]
        if names == ["PeerClosing"]:
            return "hint"
        if names == ["RecordReceived"]:
            return "taken"
        if names == ["StatusWanted"]:
            assert isinstance(peer, LockSession)
            peer.answer(LockStatus.from_bytes(examples()["LockStatus"]))
        return peer.state.name if peer.state is not before else "nothing"


def gateway_in(state: SessionState) -> tuple[GatewaySession, Far]:
    far = Far(is_gateway=False)
    session = GatewaySession(
        keys=GATEWAY_LINK,
        lock_key=LOCK_LINK.public,
        ephemeral=GATEWAY_EPHEMERAL,
        nonce=b"\xb1" * 8,
        session_ctr=8,
        version_floor=1,
        value_size_max=512,
        now_ms=0,
    )
    if state is not SessionState.HELLO:
        far.say(session, FragmentKind.PLAIN, far.hello)
    if state in {SessionState.UNCONFIRMED, SessionState.READY}:
        far.say(session, FragmentKind.HANDSHAKE, far.handshake(session))
    if state is SessionState.READY:
        session.confirm(utc_lo_s=None, utc_hi_s=None)
    assert session.state is state
    return session, far


def lock_in(state: SessionState) -> tuple[LockSession, Far]:
    far = Far(is_gateway=True)
    session = LockSession(
        keys=LOCK_LINK,
        gateway_key=GATEWAY_LINK.public,
        ephemeral=LOCK_EPHEMERAL,
        boot_nonce=b"\xb2" * 8,
        firmware="1.0.0",
        session_ctr=7,
        version_floor=1,
        value_size_max=512,
        now_ms=0,
    )
    if state is not SessionState.HELLO:
        far.say(session, FragmentKind.PLAIN, far.hello)
    if state in {SessionState.UNCONFIRMED, SessionState.READY}:
        far.say(session, FragmentKind.HANDSHAKE, far.handshake(session))
        whole = Reassembler()
        *_, last = [whole.receive_value(value, 0) for value in session.take_values()]
        assert last is not None
        far.read_answer(last.data)
    if state is SessionState.READY:
        far.say(session, FragmentKind.RECORD, far.record(Confirm(session_ctr=8)))
    assert session.state is state
    return session, far


def altered(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


def some_state() -> State:
    return State(bolt=Bolt.LOCKED, door=DoorLeaf.CLOSED, battery_mv=3_000, motor_busy=False, tampered=False, up_ms=1)


CLOSE = encode_plain(PlainClose(code=Code.BUSY))
Said = tuple[FragmentKind, bytes]
TO_GATEWAY: Final[dict[str, Callable[[LinkSession[Any], Far], Said]]] = {
    "HELLO": lambda _, far: (FragmentKind.PLAIN, far.hello),
    "handshake": lambda peer, far: (FragmentKind.HANDSHAKE, far.handshake(peer)),
    "record": lambda _, far: (FragmentKind.RECORD, far.record(some_state())),
    "altered record": lambda _, far: (FragmentKind.RECORD, altered(far.record(some_state()))),
    "PlainClose": lambda *_: (FragmentKind.PLAIN, CLOSE),
}
TO_LOCK: Final[dict[str, Callable[[LinkSession[Any], Far], Said]]] = {
    "HELLO": lambda _, far: (FragmentKind.PLAIN, far.hello),
    "handshake": lambda peer, far: (FragmentKind.HANDSHAKE, far.handshake(peer)),
    "CONFIRM": lambda _, far: (FragmentKind.RECORD, far.record(Confirm(session_ctr=8))),
    "another record": lambda _, far: (FragmentKind.RECORD, far.record(StateGet())),
    "altered record": lambda _, far: (FragmentKind.RECORD, altered(far.record(StateGet()))),
    "PlainClose": lambda *_: (FragmentKind.PLAIN, CLOSE),
}


@pytest.mark.parametrize("said", TO_GATEWAY)
@pytest.mark.parametrize("state", list(SessionState), ids=lambda state: state.name)
def test_a_gateway_does_in_each_state_what_the_table_says(state: SessionState, said: str) -> None:
    session, far = gateway_in(state)
    assert far.say(session, *TO_GATEWAY[said](session, far)) == cell("gateway", state, list(TO_GATEWAY).index(said))


@pytest.mark.parametrize("said", TO_LOCK)
@pytest.mark.parametrize("state", list(SessionState), ids=lambda state: state.name)
def test_a_lock_does_in_each_state_what_the_table_says(state: SessionState, said: str) -> None:
    session, far = lock_in(state)
    assert far.say(session, *TO_LOCK[said](session, far)) == cell("lock", state, list(TO_LOCK).index(said))


def cell(side: str, state: SessionState, column: int) -> str:
    rows = {row[0]: row[1:] for row in tables(TEXT, "states")[side]}
    assert rows.keys() == {each.name for each in SessionState}
    return rows[state.name][column]


@pytest.mark.parametrize(("side", "said"), [("gateway", TO_GATEWAY), ("lock", TO_LOCK)])
def test_the_columns_of_the_states_are_what_is_said(side: str, said: dict[str, Any]) -> None:
    head = TEXT.split(f"<!-- states: {side} -->\n")[1].splitlines()[0]
    assert [name.strip() for name in head.split("|")[2:-1]] == list(said)


@pytest.mark.parametrize("state", [SessionState.UNCONFIRMED, SessionState.READY], ids=lambda state: state.name)
def test_a_type_that_is_not_for_this_side_is_unsupported_in_every_state(state: SessionState) -> None:
    gateway, far_lock = gateway_in(state)
    assert far_lock.say(gateway, FragmentKind.RECORD, far_lock.record(StateGet())) == "UNSUPPORTED_TYPE"
    lock, far_gateway = lock_in(state)
    assert far_gateway.say(lock, FragmentKind.RECORD, far_gateway.record(some_state())) == "UNSUPPORTED_TYPE"
    other, far = lock_in(SessionState.HELLO)
    assert far.say(other, FragmentKind.PLAIN, far.peer_hello) == "UNSUPPORTED_TYPE"


def test_the_examples_are_what_two_sessions_say() -> None:
    gateway, _ = gateway_in(SessionState.READY)
    whole = Reassembler()
    said = [message.data for value in gateway.take_values() if (message := whole.receive_value(value, 0)) is not None]
    assert said[:2] == [examples()["gateway HELLO"], examples()["handshake message 1"]]
    lock, _ = lock_in(SessionState.HANDSHAKE)
    (value,) = lock.take_values()
    assert value[3:] == examples()["lock HELLO"]


# ----------------------------------------------------------------------------------------------------------- answers


def test_every_record_asks_answers_or_is_said_to_have_no_answer() -> None:
    rows = tables(TEXT, "answers")["all"]
    asked = {row[0] for row in rows}
    answers = {name for row in rows for name in re.findall(r"[A-Z]\w+", row[1])} | {"ErrorRecord"}
    (listed,) = re.findall(r"These have `corr` 0 and no answer: ([^.]*)\.", TEXT)
    unanswered = set(re.findall(r"[A-Z]\w+", listed))
    assert asked | answers | unanswered == {kind.__name__ for kind in {**FROM_GATEWAY, **FROM_LOCK}.values()}
    assert not unanswered & (asked | answers)


def test_what_asks_goes_to_the_side_that_answers() -> None:
    from_gateway = {kind.__name__ for kind in FROM_GATEWAY.values()}
    from_lock = {kind.__name__ for kind in FROM_LOCK.values()}
    for request, answer, _ in tables(TEXT, "answers")["all"]:
        assert request in from_gateway
        assert set(re.findall(r"[A-Z]\w+", answer)) <= from_lock


@pytest.mark.parametrize("side", ["gateway", "lock"])
def test_the_diagram_of_each_side_is_its_table(side: str) -> None:
    (diagram,) = re.findall(rf"<!-- diagram: {side} -->\n```mermaid\n([^`]*)```", TEXT)
    drawn = set(re.findall(r"^    (\w+) --> (\w+): (.*)$", diagram, re.MULTILINE))
    header = re.findall(rf"<!-- states: {side} -->\n\| state \| (.*) \|\n", TEXT)[0].split(" | ")
    states = {state.name for state in SessionState}
    told = {
        (row[0], cell, column)
        for row in tables(TEXT, "states")[side]
        for column, cell in zip(header, row[1:], strict=True)
        if cell in states
    }
    if side == "gateway":
        told.add(("UNCONFIRMED", "READY", "own CONFIRM sent"))  # what it does itself is no column
    assert drawn == told
