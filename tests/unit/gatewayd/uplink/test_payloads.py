from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_protocol.constants import BUNDLE_SIZE_MAX
from firmware_protocol.relay import AnswerKind, RelayAnswer
from firmware_protocol.topics import Topics
from gatewayd.uplink.payloads import (
    ANSWER_EXPIRY_S,
    JSON_SIZE_MAX,
    Encoding,
    ReplyTo,
    Request,
    Unreadable,
    answer,
    read_command,
    read_info_request,
    rejection,
)
from gatewayd.uplink.seam import Incoming, Outgoing

TOPICS = Topics.of(bytes(range(8)))


def incoming(payload: bytes, *, response_topic: str | None = None, correlation: bytes | None = None) -> Incoming:
    return Incoming(
        topic=TOPICS.command,
        payload=payload,
        retained=False,
        response_topic=response_topic,
        correlation=correlation,
    )


def command(payload: bytes, **options: str | bytes | None) -> Request | Unreadable:
    return read_command(incoming(payload, **options), TOPICS)  # type: ignore[arg-type]  # as given


def as_json(**members: object) -> bytes:
    return json.dumps(members).encode()


@pytest.mark.parametrize("size", [1, BUNDLE_SIZE_MAX])
def test_a_bare_bundle_within_bounds_is_a_request(size: int) -> None:
    body = b"\x83" * size
    assert command(body) == Request(body=body, reply_to=ReplyTo(topic=TOPICS.response))


@pytest.mark.parametrize("size", [0, BUNDLE_SIZE_MAX + 1])
def test_a_bare_bundle_out_of_bounds_is_unreadable(size: int) -> None:
    assert isinstance(command(b"\x83" * size), Unreadable)


@pytest.mark.parametrize("padding", ["", "=", "=="])
def test_json_carries_base64url_with_or_without_padding(padding: str) -> None:
    request = command(as_json(bundle="-_8" + padding))
    assert isinstance(request, Request)
    assert request.body == b"\xfb\xff"
    assert request.reply_to.encoding is Encoding.JSON


@pytest.mark.parametrize(("length", "kept"), [(64, True), (65, False)])
def test_a_json_correlation_is_echoed_up_to_64_characters(length: int, *, kept: bool) -> None:
    request = command(as_json(bundle="AAAA", correlation="å" * length))
    assert isinstance(request, Request)
    assert request.reply_to.json_correlation == ("å" * length if kept else None)


@pytest.mark.parametrize(("size", "kept"), [(64, True), (65, False)])
def test_correlation_data_is_echoed_up_to_64_bytes(size: int, *, kept: bool) -> None:
    request = command(b"\x83", correlation=b"c" * size)
    assert isinstance(request, Request)
    assert request.reply_to.correlation == (b"c" * size if kept else None)


@pytest.mark.parametrize(
    "payload",
    [
        b"{",
        b'{"bundle":"AAAA"}x',
        as_json(bundle=7),
        as_json(bundle=None),
        as_json(bundle=""),
        as_json(bundle="A"),
        as_json(bundle="AA+A"),
        as_json(bundle="AAAÅ"),
        as_json(bundle="AAAA", correlation=7),
        as_json(bundle="AAAA", more=1),
        as_json(correlation="x"),
        b'{"bundle":"AAAA","bundle":"AAAB"}',
        b'{"a":' * 500,
        b'{"bundle":' + b"[" * 4_000,
        b'{"bundle":"\xff\xfe"}',
        as_json(bundle=base64.urlsafe_b64encode(bytes(BUNDLE_SIZE_MAX + 1)).decode()),
        as_json(bundle="A" * JSON_SIZE_MAX),
    ],
)
def test_attack_json_of_another_form_is_unreadable(payload: bytes) -> None:
    assert isinstance(command(payload), Unreadable)


@given(st.binary(max_size=5_000))
def test_no_bytes_make_the_reader_fail(payload: bytes) -> None:
    assert isinstance(command(payload), Request | Unreadable)
    assert isinstance(read_info_request(incoming(payload), TOPICS), Request | Unreadable)


@given(st.text(max_size=300))
def test_whatever_response_topic_is_asked_for_the_answer_stays_below_our_own(topic: str) -> None:
    request = command(b"\x83", response_topic=topic)
    assert isinstance(request, Request)
    assert request.reply_to.topic == TOPICS.response or request.reply_to.topic.startswith(f"{TOPICS.response}/")


def test_a_nonce_is_16_bytes_in_both_encodings() -> None:
    nonce = bytes(range(16))
    for payload in (nonce, as_json(nonce=base64.urlsafe_b64encode(nonce).decode())):
        request = read_info_request(incoming(payload), TOPICS)
        assert isinstance(request, Request)
        assert request.body == nonce
        assert request.reply_to.topic == TOPICS.response_to("info")
    assert isinstance(read_info_request(incoming(as_json(nonce="AAAA")), TOPICS), Unreadable)


@pytest.mark.parametrize("first", range(256))
def test_a_bare_nonce_may_begin_with_any_byte(first: int) -> None:
    nonce = bytes((first,)) * 16  # 7b is the brace of JSON, a1 the head of what is sealed
    request = read_info_request(incoming(nonce), TOPICS)
    assert isinstance(request, Request)
    assert (request.body, request.reply_to) == (nonce, ReplyTo(topic=TOPICS.response_to("info")))


def test_bare_answers_are_relay_answers_with_the_correlation_and_an_expiry() -> None:
    reply_to = ReplyTo(topic="t", correlation=b"c")
    assert answer(reply_to, AnswerKind.RECEIPT, b"signed") == Outgoing(
        topic="t",
        payload=RelayAnswer(kind=AnswerKind.RECEIPT, body=b"signed").to_bytes(),
        correlation=b"c",
        expiry_s=ANSWER_EXPIRY_S,
    )
    assert answer(reply_to, AnswerKind.DENIED).payload == rejection(reply_to).payload


@pytest.mark.parametrize(
    ("kind", "body", "payload"),
    [
        (AnswerKind.RECEIPT, b"\xfb\xff", b'{"correlation":"x","receipt":"-_8"}'),
        (AnswerKind.INFO, b"\xfb\xff", b'{"correlation":"x","info":"-_8"}'),
        (AnswerKind.DENIED, b"", b'{"correlation":"x","denied":true}'),
    ],
)
def test_json_answers_name_their_kind(kind: AnswerKind, body: bytes, payload: bytes) -> None:
    reply_to = ReplyTo(topic="t", encoding=Encoding.JSON, json_correlation="x")
    assert answer(reply_to, kind, body).payload == payload


def test_a_json_answer_without_correlation_has_none() -> None:
    reply_to = ReplyTo(topic="t", encoding=Encoding.JSON)
    assert rejection(reply_to).payload == b'{"rejected":"retained"}'
