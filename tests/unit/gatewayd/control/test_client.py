"""What a command makes of answers: a whole journal in pages, and nothing that it does not understand."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from firmware_protocol.merkle import Frontier
from gatewayd.control.client import ControlClient
from gatewayd.control.messages import ANSWER_SIZE_MAX, ControlCode, ControlError, to_line
from gatewayd.control.server import ControlServer
from gatewayd.control.store_log import StoreLog
from gatewayd.journal.verification import Keys, verify_log
from gatewayd.store.inspection import StoredTrust
from gatewayd.store.log import read_log
from gatewayd.store.store import Store
from tests.support.control_bench import STATUS, FixedStatus
from tests.support.journal_bench import CENTRAL, GATEWAY, JournalBench, public, receipt
from tests.support.other_user import as_nobody, let_through

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from gatewayd.journal.copies import LogCopy

HEADER = {
    "log_id": "00" * 16,
    "size": 4,
    "root": "AAAA",
    "before": "AAAAAAAAAAA=",
    "received": 0,
}


@pytest.fixture
def bench(tmp_path: Path) -> JournalBench:
    """Return a journal of 1,210 entries in three pages, pruned to the newest 1,200, with a receipt."""
    bench = JournalBench.make(tmp_path / "store.db")
    bench.beat(1_200)
    note = bench.note()
    bench.take_receipt(receipt(note))
    bench.beat(10)
    bench.note()
    bench.run(lambda tx: bench.journal.prune(tx, 1_200))
    return bench


def whole(copy: LogCopy) -> LogCopy:
    return replace(copy, leaves=tuple(copy.leaves))


async def ask_daemon(store: Store, path: Path, ask: Callable[[ControlClient], Any]) -> Any:
    server = ControlServer(path, status=FixedStatus(), journal=StoreLog(store))
    await server.open()

    def asking() -> object:
        with ControlClient(path) as client:
            return ask(client)

    try:
        return await asyncio.to_thread(asking)
    finally:
        await server.close()
        await store.close()


async def test_a_journal_over_the_socket_is_the_journal_in_the_store(bench: JournalBench, tmp_path: Path) -> None:
    bench.database.close()
    direct = whole(read_log(bench.path))
    asked = await ask_daemon(Store.open(bench.path), tmp_path / "c.sock", lambda client: whole(client.log()))
    assert asked == direct
    assert len(asked.leaves) == 1_200
    result = verify_log(asked, keys=Keys(gateway=public(GATEWAY), receipt=[public(CENTRAL)]))
    assert result.problems == ()
    assert (result.checkpoint_count, result.receipt_count) == (2, 1)


async def test_a_fresh_store_has_an_empty_journal_and_no_trust(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "store.db", log_id=bytes(16))
    trust, copy = await ask_daemon(store, tmp_path / "c.sock", lambda client: (client.trust(), whole(client.log())))
    assert trust == StoredTrust(keyset=None, doors=())
    assert (copy.size, copy.leaves, copy.checkpoints) == (0, (), ())


class ScriptedDaemon:
    """Answers each question with the next line of a script, whatever it was."""

    def __init__(self, path: Path, lines: list[bytes]) -> None:
        self.asked: list[dict[str, Any]] = []
        self._lines = lines
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        connection, _ = self._listener.accept()
        with connection, connection.makefile("rb") as questions:
            for line in self._lines:
                self.asked.append(json.loads(questions.readline()))
                connection.sendall(line)

    def close(self) -> None:
        self._thread.join(5)
        self._listener.close()


class Script:
    """Makes scripted daemons for one test."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.daemon: ScriptedDaemon | None = None

    def __call__(self, *answers: dict[str, Any] | bytes) -> ControlClient:
        lines = [answer if isinstance(answer, bytes) else to_line(answer) for answer in answers]
        self.daemon = ScriptedDaemon(self.path, lines)
        return ControlClient(self.path)


@pytest.fixture
def script(tmp_path: Path) -> Iterator[Script]:
    script = Script(tmp_path / "c.sock")
    yield script
    if script.daemon is not None:
        script.daemon.close()


def page(*indexes: int) -> dict[str, Any]:
    return {"answer": {"entries": [[index, "AAAA", None] for index in indexes]}}


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"", ControlCode.UNREACHABLE),
        (b"not json\n", ControlCode.MALFORMED),
        (b"{}\n", ControlCode.MALFORMED),
        (b'{"answer":[]}\n', ControlCode.MALFORMED),
        (b'{"answer":{}}\n', ControlCode.MALFORMED),
        (b'{"error":{"code":1}}\n', ControlCode.MALFORMED),
        (b"x" * (ANSWER_SIZE_MAX + 1), ControlCode.TOO_LONG),
    ],
    ids=["gone", "not json", "nothing", "list", "empty", "odd refusal", "endless"],
)
def test_an_answer_that_makes_no_sense_is_told(script: Script, line: bytes, code: ControlCode) -> None:
    with script(line) as client, pytest.raises(ControlError) as caught:
        client.status()
    assert caught.value.code == code


def test_a_refusal_keeps_its_code_and_words(script: Script) -> None:
    with script({"error": {"code": "store.full", "detail": "the disk is full"}}) as client:
        with pytest.raises(ControlError) as caught:
            client.status()
        assert (caught.value.code, caught.value.detail) == ("store.full", "the disk is full")


def test_a_newer_daemon_may_say_more_in_its_status(script: Script) -> None:
    document = STATUS.to_json() | {"mood": "good"}
    with script({"answer": document}) as client:
        assert client.status() == STATUS


def test_an_older_status_that_lacks_something_is_refused(script: Script) -> None:
    document = STATUS.to_json()
    del document["outbox"]
    with script({"answer": document}) as client, pytest.raises(ControlError, match="does not understand"):
        client.status()


@pytest.mark.parametrize(
    "change",
    [{"log_id": "x"}, {"size": -1}, {"size": True}, {"size": None}, {"before": "AA=="}, {"root": "*"}, {"root": 3}],
)
def test_a_header_that_makes_no_sense_is_refused(script: Script, change: dict[str, object]) -> None:
    with script({"answer": HEADER | change}) as client, pytest.raises(ControlError, match="does not understand"):
        client.log()


def test_entries_are_asked_for_page_after_page(script: Script) -> None:
    with script({"answer": HEADER}, {"answer": {"checkpoints": []}}, page(0, 1), page(2, 3)) as client:
        assert [leaf.index for leaf in client.log().leaves] == [0, 1, 2, 3]
    assert script.daemon is not None
    assert script.daemon.asked == [
        {"version": 1, "ask": "log"},
        {"version": 1, "ask": "log.checkpoints", "above": 0},
        {"version": 1, "ask": "log.entries", "from": 0, "count": 4},
        {"version": 1, "ask": "log.entries", "from": 2, "count": 2},
    ]


def test_a_page_that_leads_nowhere_does_not_make_the_command_go_on_for_ever(script: Script) -> None:
    answers: tuple[dict[str, Any], ...] = ({"answer": HEADER}, {"answer": {"checkpoints": []}}, page(0, 1), page(0, 1))
    with script(*answers) as client, pytest.raises(ControlError, match="leads nowhere"):
        list(client.log().leaves)


def test_entries_that_are_not_there_are_left_for_the_verifier_to_name(script: Script) -> None:
    with script({"answer": HEADER}, {"answer": {"checkpoints": []}}, page(0, 1), page()) as client:
        copy = client.log()
        assert verify_log(copy, keys=Keys()).problem_count > 0


def test_pruning_while_somebody_reads_is_no_sign_of_tampering(script: Script) -> None:
    one = Frontier.empty().append(bytes(32)).append(bytes(32)).to_bytes()
    later = HEADER | {"before": base64.b64encode(one).decode()}
    answers: tuple[dict[str, Any], ...] = (
        {"answer": HEADER},
        {"answer": {"checkpoints": []}},
        page(2, 3),
        {"answer": later},
    )
    with script(*answers) as client, pytest.raises(ControlError, match="pruned meanwhile"):
        list(client.log().leaves)


def test_nobody_there_is_told_with_the_path(tmp_path: Path) -> None:
    with pytest.raises(
        ControlError, match=r"c\.sock: No such file or directory; is gatewayd running\? systemctl status gatewayd tells"
    ):
        ControlClient(tmp_path / "c.sock")


def test_whoever_may_not_ask_is_told_who_may(tmp_path: Path) -> None:
    path = tmp_path / "c.sock"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        path.chmod(0o600)
        let_through(tmp_path)

        def ask() -> str:
            with pytest.raises(ControlError) as caught:
                ControlClient(path)
            return caught.value.detail

        assert as_nobody(ask) == f"{path}: Permission denied; only root and the daemon's user and group may ask"
