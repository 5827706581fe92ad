"""The control socket answers the right users, bears garbage, and moves nothing."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gatewayd.control import server as server_module
from gatewayd.control.client import ControlClient
from gatewayd.control.messages import ERRAND_SIZE_MAX, REQUEST_SIZE_MAX, ControlCode, ControlError, to_line
from gatewayd.control.server import CONNECTION_COUNT_MAX, ControlServer, is_permitted
from gatewayd.store.faults import StoreCode, StoreError
from tests.support.control_bench import STATUS, FixedStatus, NoLog, exchange
from tests.support.other_user import as_nobody, let_through

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

ASK_STATUS = to_line({"version": 1, "ask": "status"})


@pytest.fixture
def status() -> FixedStatus:
    return FixedStatus()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "control.sock"


@pytest.fixture
async def server(path: Path, status: FixedStatus) -> AsyncIterator[ControlServer]:
    server = ControlServer(path, status=status, journal=NoLog())
    await server.open()
    yield server
    await server.close()


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def leave_behind(path: Path) -> None:
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(path))


def is_there(path: Path) -> bool:
    return os.path.lexists(path)


def open_to_all(path: Path) -> None:
    let_through(path.parent)
    path.parent.chmod(0o755)
    path.chmod(0o666)


def code_of(answer: dict[str, Any]) -> str:
    code: str = answer["error"]["code"]
    return code


@pytest.mark.usefixtures("server")
async def test_the_status_document_goes_through_unchanged(path: Path) -> None:
    def ask() -> object:
        with ControlClient(path) as client:
            return client.status()

    assert await asyncio.to_thread(ask) == STATUS


@pytest.mark.usefixtures("server")
async def test_one_connection_may_ask_again_and_again(path: Path) -> None:
    answers = await exchange(path, ASK_STATUS * 3)
    assert [answer["answer"]["gateway_id"] for answer in answers] == [STATUS.gateway_id] * 3


@pytest.mark.usefixtures("server")
async def test_the_socket_is_for_the_user_and_the_group_only(path: Path) -> None:
    assert mode_of(path) == 0o660
    assert mode_of(path.parent) & 0o027 == 0


@pytest.mark.parametrize(
    ("uid", "gid", "permitted"),
    [
        (0, 12_345, True),
        (os.geteuid(), 12_345, True),
        (54_321, os.getegid(), True),
        (54_321, 12_345, False),
    ],
    ids=["root", "own user", "own group", "stranger"],
)
def test_only_root_and_our_own_user_and_group_may_ask(uid: int, gid: int, *, permitted: bool) -> None:
    assert is_permitted(uid, gid) is permitted


@pytest.mark.usefixtures("server")
async def test_a_stranger_who_gets_through_the_mode_is_refused_by_the_kernels_word(path: Path) -> None:
    open_to_all(path)

    def ask() -> str:
        with socket.socket(socket.AF_UNIX) as stranger:
            stranger.settimeout(5)
            stranger.connect(str(path))
            return stranger.makefile("rb").readline().decode()

    said = await asyncio.to_thread(as_nobody, ask)
    assert code_of(json.loads(said)) == ControlCode.NOT_PERMITTED


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (b"\n", ControlCode.MALFORMED),
        (b"\x00\xff\n", ControlCode.MALFORMED),
        (b"[1]\n", ControlCode.MALFORMED),
        (b"[" * 4_000 + b"\n", ControlCode.MALFORMED),
        (b"{}\n", ControlCode.VERSION),
        (b'{"version":2,"ask":"status"}\n', ControlCode.VERSION),
        (b'{"version":1}\n', ControlCode.UNKNOWN_REQUEST),
        (b'{"version":1,"ask":"unlock"}\n', ControlCode.UNKNOWN_REQUEST),
        (b'{"version":1,"ask":["status"]}\n', ControlCode.UNKNOWN_REQUEST),
        (b'{"version":1,"ask":"log.entries"}\n', ControlCode.MALFORMED),
        (b'{"version":1,"ask":"log.entries","from":-1,"count":1}\n', ControlCode.MALFORMED),
        (b'{"version":1,"ask":"log.entries","from":true,"count":1}\n', ControlCode.MALFORMED),
        (b'{"version":1,"ask":"log.entries","from":9223372036854775808,"count":1}\n', ControlCode.MALFORMED),
        (b'{"version":1,"ask":"log.checkpoints","above":"0"}\n', ControlCode.MALFORMED),
    ],
)
async def test_what_is_not_a_question_is_refused_and_the_next_one_answered(
    path: Path, sent: bytes, code: ControlCode
) -> None:
    refused, answered = await exchange(path, sent + ASK_STATUS)
    assert code_of(refused) == code
    assert answered["answer"]["boot"] == STATUS.boot


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize(("size", "taken"), [(REQUEST_SIZE_MAX, True), (REQUEST_SIZE_MAX + 1, False)])
async def test_a_question_has_a_longest_size(path: Path, size: int, *, taken: bool) -> None:
    line = ASK_STATUS.rstrip() + b" " * (size - len(ASK_STATUS)) + b"\n"
    (answer,) = await exchange(path, line)
    assert ("answer" in answer) is taken
    assert taken or code_of(answer) == ControlCode.TOO_LONG


@pytest.mark.usefixtures("server")
async def test_a_flood_without_a_line_end_is_cut_off(path: Path) -> None:
    (answer,) = await exchange(path, b"x" * (ERRAND_SIZE_MAX + 1))
    assert code_of(answer) == ControlCode.TOO_LONG


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(sent=st.binary(max_size=300))
def test_no_garbage_stops_the_server(tmp_path_factory: pytest.TempPathFactory, sent: bytes) -> None:
    path = tmp_path_factory.mktemp("control") / "c.sock"

    async def story() -> None:
        server = ControlServer(path, status=FixedStatus(), journal=NoLog())
        await server.open()
        await exchange(path, sent)
        (answer,) = await exchange(path, ASK_STATUS)
        assert "answer" in answer
        await server.close()

    asyncio.run(story())


@pytest.mark.usefixtures("server")
async def test_a_fault_behind_a_question_is_told_by_its_code(path: Path, status: FixedStatus) -> None:
    status.error = StoreError(StoreCode.FULL, "the disk is full")
    (answer,) = await exchange(path, ASK_STATUS)
    assert answer == {"error": {"code": "store.full", "detail": "the disk is full"}}


@pytest.mark.usefixtures("server")
async def test_a_bug_behind_a_question_stays_inside(path: Path, status: FixedStatus) -> None:
    status.error = ZeroDivisionError("a secret detail")
    refused, again = await exchange(path, ASK_STATUS * 2)
    assert code_of(refused) == code_of(again) == ControlCode.FAULT
    assert "secret" not in json.dumps(refused)


@pytest.mark.usefixtures("server")
async def test_an_asker_that_leaves_at_once_hurts_nobody(path: Path) -> None:
    for _ in range(20):
        _, writer = await asyncio.open_unix_connection(path)
        writer.write(ASK_STATUS * 50)
        writer.transport.abort()
    (answer,) = await exchange(path, ASK_STATUS)
    assert "answer" in answer


@pytest.mark.usefixtures("server")
async def test_too_many_askers_are_sent_away(path: Path) -> None:
    held = [await asyncio.open_unix_connection(path) for _ in range(CONNECTION_COUNT_MAX)]
    for reader, writer in held:
        writer.write(ASK_STATUS)
        await reader.readline()
    (answer,) = await exchange(path, b"")
    assert code_of(answer) == ControlCode.BUSY
    for _, writer in held:
        writer.close()


@pytest.mark.usefixtures("server")
async def test_a_silent_asker_is_let_go(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "SILENCE_S_MAX", 0.01)
    reader, writer = await asyncio.open_unix_connection(path)
    assert await reader.read() == b""
    writer.close()


async def test_closing_drops_who_is_connected_and_removes_the_socket(server: ControlServer, path: Path) -> None:
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(ASK_STATUS)
    await reader.readline()
    await server.close()
    assert await reader.read() == b""
    assert not is_there(path)
    writer.close()


async def test_a_server_that_was_never_opened_closes_quietly(path: Path) -> None:
    await ControlServer(path, status=FixedStatus(), journal=NoLog()).close()


async def test_a_socket_that_a_killed_daemon_left_behind_is_replaced(path: Path) -> None:
    leave_behind(path)
    server = ControlServer(path, status=FixedStatus(), journal=NoLog())
    await server.open()
    assert len(await exchange(path, ASK_STATUS)) == 1
    await server.close()


@pytest.mark.usefixtures("server")
async def test_the_socket_of_a_living_daemon_is_left_alone(path: Path) -> None:
    second = ControlServer(path, status=FixedStatus(), journal=NoLog())
    with pytest.raises(ControlError, match=r"control\.in_use"):
        await second.open()
    await second.close()
    assert len(await exchange(path, ASK_STATUS)) == 1


def test_a_file_in_the_place_of_the_socket_is_left_alone(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("somebody's")
    with pytest.raises(ControlError, match="is there and is no socket"):
        asyncio.run(ControlServer(path, status=FixedStatus(), journal=NoLog()).open())
    assert path.read_text() == "somebody's"


async def test_a_socket_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 200) / "control.sock"
    with pytest.raises(ControlError, match=r"control\.unreachable: .*too long"):
        await ControlServer(path, status=FixedStatus(), journal=NoLog()).open()
