"""An installer's errand over the control socket: who may, what is said meanwhile, and what garbage comes to."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import struct
from typing import TYPE_CHECKING, Any

import pytest

from gatewayd.control.client import ControlClient
from gatewayd.control.messages import (
    ERRAND_SIZE_MAX,
    REQUEST_SIZE_MAX,
    ControlCode,
    ControlError,
    ErrandDocument,
    to_line,
)
from gatewayd.control.server import ControlServer
from gatewayd.errors import GatewayError
from tests.support.control_bench import FixedStatus, NoLog, exchange
from tests.support.other_user import let_through

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

ENDED = ErrandDocument(lock_id="00" * 8, owner_epoch=3, was_done=False)


class Desk:
    """An `ErrandSource` that says three words and ends as it is told to."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.ends_with: Exception | None = None
        self.goes_on = asyncio.Event()
        self.goes_on.set()

    async def pair(
        self, papers: dict[str, Any], label: str, address: str | None, progress: Callable[[str], None]
    ) -> ErrandDocument:
        return await self._run(progress, papers, label, address)

    async def decommission(self, order: bytes, address: str | None, progress: Callable[[str], None]) -> ErrandDocument:
        return await self._run(progress, order, address)

    async def _run(self, progress: Callable[[str], None], *asked: object) -> ErrandDocument:
        self.asked.append(asked)
        progress("found it")
        await self.goes_on.wait()
        progress("paired it")
        if self.ends_with is not None:
            raise self.ends_with
        return ENDED


@pytest.fixture
async def desk() -> Desk:
    return Desk()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "control.sock"


@pytest.fixture
async def server(path: Path, desk: Desk) -> AsyncIterator[ControlServer]:
    server = ControlServer(path, status=FixedStatus(), journal=NoLog(), errands=lambda: desk)
    await server.open()
    yield server
    await server.close()


@pytest.mark.usefixtures("server")
async def test_an_errand_is_run_and_each_step_is_told(path: Path, desk: Desk) -> None:
    said: list[str] = []
    papers = {"doors": ["A" * 100_000]}

    def ask() -> tuple[ErrandDocument, ErrandDocument]:
        with ControlClient(path) as client:
            return client.pair(papers, "CARELOCK:1:X", None, said.append), client.decommission(
                b"\x00", "F0", said.append
            )

    assert await asyncio.to_thread(ask) == (ENDED, ENDED)
    assert said == ["found it", "paired it"] * 2
    assert desk.asked == [(papers, "CARELOCK:1:X", None), (b"\x00", "F0")]


@pytest.mark.usefixtures("server")
async def test_what_an_errand_comes_to_is_told_with_its_code(path: Path, desk: Desk) -> None:
    desk.ends_with = GatewayError("pair.none_waits", "press the button")

    def ask() -> ErrandDocument:
        with ControlClient(path) as client:
            return client.pair({}, "", None, str)  # type: ignore[arg-type]  # whatever takes text

    with pytest.raises(ControlError, match="press the button") as caught:
        await asyncio.to_thread(ask)
    assert caught.value.code == "pair.none_waits"


@pytest.mark.usefixtures("server")
async def test_an_asker_that_leaves_does_not_end_the_errand(path: Path, desk: Desk) -> None:
    """Ctrl-C at the command: the lock may have its order already, and what was begun is finished."""
    desk.goes_on.clear()
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(to_line({"version": 1, "ask": "decommission", "order": ""}))
    assert json.loads(await reader.readline()) == {"progress": "found it"}
    writer.close()
    desk.goes_on.set()
    answers = await exchange(path, to_line({"version": 1, "ask": "status"}))
    assert "answer" in answers[0]
    assert len(desk.asked) == 1


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"ask": "pair"}, ControlCode.VERSION),
        ({"version": 1, "ask": "pair"}, ControlCode.MALFORMED),
        ({"version": 1, "ask": "pair", "papers": []}, ControlCode.MALFORMED),
        ({"version": 1, "ask": "pair", "papers": {}, "label": 3}, ControlCode.MALFORMED),
        ({"version": 1, "ask": "pair", "papers": {}, "label": "", "address": 3}, ControlCode.MALFORMED),
        ({"version": 1, "ask": "decommission"}, ControlCode.MALFORMED),
        ({"version": 1, "ask": "decommission", "order": "*"}, ControlCode.MALFORMED),
        ({"version": 1, "ask": "pair", "papers": {"x": "A" * ERRAND_SIZE_MAX}}, ControlCode.TOO_LONG),
        ({"version": 1, "ask": "explain", "bundle": "A" * REQUEST_SIZE_MAX}, ControlCode.TOO_LONG),
    ],
)
async def test_garbage_is_no_errand(path: Path, desk: Desk, asked: dict[str, Any], code: str) -> None:
    (answer, *_) = await exchange(path, to_line(asked))
    assert answer["error"]["code"] == code
    assert desk.asked == []


async def test_without_anybody_who_runs_errands_that_is_said(path: Path) -> None:
    server = ControlServer(path, status=FixedStatus(), journal=NoLog())
    await server.open()
    (answer,) = await exchange(path, to_line({"version": 1, "ask": "decommission", "order": ""}))
    assert answer["error"]["code"] == ControlCode.UNKNOWN_REQUEST
    await server.close()


@pytest.mark.usefixtures("server")
async def test_attack_somebody_of_the_daemons_group_may_ask_and_change_no_lock(
    path: Path, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_through(path.parent)
    # The peer's group is the daemon's, its user is neither root nor the daemon's.
    monkeypatch.setattr(socket.socket, "getsockopt", lambda *_: _credentials(uid=65_534))
    answers = await exchange(
        path, to_line({"version": 1, "ask": "decommission", "order": ""}) + to_line({"version": 1, "ask": "status"})
    )
    assert answers[0]["error"]["code"] == ControlCode.NOT_PERMITTED
    assert "answer" in answers[1]
    assert desk.asked == []


def _credentials(*, uid: int) -> bytes:
    return struct.pack("3i", 1, uid, os.getegid())
