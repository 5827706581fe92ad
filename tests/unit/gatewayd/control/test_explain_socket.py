"""`explain` over the control socket: through unchanged, and bad questions refused."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import TYPE_CHECKING, Final

import pytest

from gatewayd import exits
from gatewayd.cli.app import main
from gatewayd.control.client import ControlClient
from gatewayd.control.messages import CheckLine, ClockStatus, ControlCode, Explanation, to_line
from gatewayd.control.server import ControlServer
from tests.support.control_bench import FixedStatus, NoLog, exchange
from tests.support.gateway_folder import GatewayFolder

if TYPE_CHECKING:
    from pathlib import Path

EXPLAINED: Final = Explanation(
    source="daemon",
    verdict="denied",
    code="command.rate_limited",
    authenticated=True,
    retry_after_s=42,
    detail=None,
    checks=(
        CheckLine(check="size", result="passed", code=None),
        CheckLine(check="a check of tomorrow's", result="not_asked", code=None),
    ),
    action="unlock",
    lock_id="00" * 8,
    channel="mqtt",
    signer="11" * 8,
    provider="north-care",
    grant="22" * 16,
    tier="stale",
    clock=ClockStatus(trusted=False, lo_ms=1_800_000_000_000, hi_ms=None),
)


class FixedExplainer:
    """Says the same of every bundle, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[bytes, int | None]] = []

    async def explain(self, bundle: bytes, at_s: int | None) -> Explanation:
        """See `ExplanationSource.explain`."""
        self.asked.append((bundle, at_s))
        return EXPLAINED


async def test_bundle_and_moment_go_through_and_so_does_the_explanation(tmp_path: Path) -> None:
    path, explainer = tmp_path / "control.sock", FixedExplainer()
    server = ControlServer(path, status=FixedStatus(), journal=NoLog(), explainer=explainer)
    await server.open()

    def ask() -> list[Explanation]:
        with ControlClient(path) as client:
            return [client.explain(b"\x80bundle"), client.explain(b"", 1_800_000_000)]

    assert await asyncio.to_thread(ask) == [EXPLAINED, EXPLAINED]
    assert explainer.asked == [(b"\x80bundle", None), (b"", 1_800_000_000)]
    await server.close()


@pytest.mark.parametrize(
    "parameters",
    [
        pytest.param({}, id="no bundle"),
        pytest.param({"bundle": 7}, id="a number"),
        pytest.param({"bundle": "%%%"}, id="no base64"),
        pytest.param({"bundle": "", "at": -1}, id="before 1970"),
        pytest.param({"bundle": "", "at": "noon"}, id="a moment in words"),
    ],
)
async def test_a_question_that_makes_no_sense_is_refused(tmp_path: Path, parameters: dict[str, object]) -> None:
    path, explainer = tmp_path / "control.sock", FixedExplainer()
    server = ControlServer(path, status=FixedStatus(), journal=NoLog(), explainer=explainer)
    await server.open()
    (answer,) = await exchange(path, to_line({"version": 1, "ask": "explain"} | parameters))
    assert answer["error"]["code"] == ControlCode.MALFORMED
    assert explainer.asked == []
    await server.close()


async def test_where_nobody_explains_the_question_is_unknown(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    server = ControlServer(path, status=FixedStatus(), journal=NoLog())
    await server.open()
    (answer,) = await exchange(path, to_line({"version": 1, "ask": "explain", "bundle": ""}))
    assert answer["error"]["code"] == ControlCode.UNKNOWN_REQUEST
    await server.close()


async def test_the_command_asks_the_running_daemon_and_shows_what_a_newer_one_says(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, explainer = GatewayFolder(tmp_path), FixedExplainer()
    file = tmp_path / "one.bundle"
    file.write_bytes(base64.b64encode(b"\x80bundle"))
    server = ControlServer(
        folder.folder / "run" / "control.sock", status=FixedStatus(), journal=NoLog(), explainer=explainer
    )
    await server.open()
    words = ["explain", str(file), "--config", str(folder.config)]
    assert await asyncio.to_thread(main, [*words, "--lang", "sv"]) == exits.FAILED
    text = capsys.readouterr().out
    assert text.startswith("one.bundle: nekat (command.rate_limited)\n")
    assert "försök igen om 42 s" in text
    assert "inte före 2027-01-15T08:00:00+00:00 (ej betrodd)" in text
    assert "a check of tomorrow's" in text
    assert await asyncio.to_thread(main, [*words, "--json", "--at", "2027-01-15T08:00:00"]) == exits.FAILED
    (document,) = json.loads(capsys.readouterr().out)
    assert document["checks"][0] == {"check": "size", "result": "passed", "code": None}
    assert explainer.asked == [(b"\x80bundle", None), (b"\x80bundle", 1_800_000_000)]
    await server.close()
