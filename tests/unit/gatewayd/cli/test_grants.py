"""`gatewayd grants`: who may open, masked unless asked for, and which revocations are in force."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from gatewayd import exits
from gatewayd.cli.app import main
from gatewayd.control.client import ControlClient
from gatewayd.control.grants_wire import AuthorityLine, DriftDocument, GrantLine, GrantPage
from gatewayd.control.messages import ControlError
from gatewayd.control.server import ControlServer
from tests.support.control_bench import FixedStatus, NoLog

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

NOW_S = 1_800_000_000
GRANT = GrantLine(
    sha256="00" * 32,
    cti="11" * 16,
    provider="north-care",
    subject="anna",
    holder="22" * 8,
    rights=("unlock", "lock"),
    offline_class="shift",
    exp_s=NOW_S,
    windows=((NOW_S - 900, NOW_S),),
    use_count=1,
    use_count_max=3,
    revoked=True,
)
DRIFT = DriftDocument(
    gateway_id="0011223344556677",
    tier="fresh",
    keyset_version=3,
    state_keyset_version=3,
    state_seq=17,
    state_sha256="33" * 32,
    state_iat_s=NOW_S - 60,
    state_due_s=NOW_S + 21_600,
    state_current=True,
    revoked_kids=("44" * 8,),
    revoked_ctis=("55" * 16,),
    provider_iat_min_s=(("north-care", NOW_S - 86_400),),
    authorities=(AuthorityLine(provider="north-care", cti="66" * 16, iat_s=NOW_S - 60, exp_s=2**53),),
    grant_count=2,
    now_lo_s=NOW_S,
)


class FixedRights:
    """Two pages of grants, and a report."""

    def __init__(self) -> None:
        self.document = DRIFT
        self.pages = {
            b"": GrantPage(grants=(GRANT,), more=True),
            bytes(32): GrantPage(
                grants=(replace(GRANT, sha256="01" * 32, use_count_max=None, revoked=False),), more=False
            ),
        }

    async def grants(self, after: bytes) -> GrantPage:
        return self.pages[after]

    def drift(self) -> DriftDocument:
        return self.document


@pytest.fixture
async def rights(tmp_path: Path) -> AsyncIterator[FixedRights]:
    source = FixedRights()
    server = ControlServer(tmp_path / "control.sock", status=FixedStatus(), journal=NoLog(), rights=source)
    await server.open()
    yield source
    await server.close()


async def run(tmp_path: Path, *arguments: str) -> int:
    return await asyncio.to_thread(main, ["grants", *arguments, "--socket", str(tmp_path / "control.sock")])


async def test_grants_are_listed_with_their_holders_masked(
    rights: FixedRights, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert len(rights.pages) == 2
    assert await run(tmp_path, "list") == exits.OK
    assert capsys.readouterr().out.splitlines() == [
        f"{'11' * 16}  north-care  ***  unlock+lock  shift  until 2027-01-15 08:00:00Z, 1 visits, 1 of 3 uses, REVOKED",
        f"{'11' * 16}  north-care  ***  unlock+lock  shift  until 2027-01-15 08:00:00Z, 1 visits",
    ]
    assert await run(tmp_path, "list", "--json") == exits.OK
    assert {line["subject"] for line in json.loads(capsys.readouterr().out)} == {"***"}


async def test_holders_are_shown_to_whoever_asks_for_them(
    rights: FixedRights, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rights.pages[b""] = GrantPage(grants=(replace(GRANT, provider="\x1b[2J"),), more=False)
    assert await run(tmp_path, "list", "--reveal") == exits.OK
    told = capsys.readouterr().out
    assert "anna" in told
    assert "\x1b" not in told
    rights.pages[b""] = GrantPage(grants=(), more=False)
    assert await run(tmp_path, "list") == exits.OK
    assert capsys.readouterr().out == "no grants are kept\n"


async def test_drift_names_every_revocation_in_force(
    rights: FixedRights, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await run(tmp_path, "drift") == exits.OK
    told = capsys.readouterr().out
    for part in (
        "3/17",
        "sha256 " + "33" * 32,
        "key " + "44" * 8,
        "grant " + "55" * 16,
        "north-care before 2027-01-14",
    ):
        assert part in told
    assert f"until second {2**53}" in told
    assert "NOT CURRENT" not in told
    rights.document = replace(DRIFT, tier="stale", state_current=False)
    assert await run(tmp_path, "drift") == exits.FAILED
    assert "NOT CURRENT" in capsys.readouterr().out


async def test_a_home_without_a_state_says_so(
    rights: FixedRights, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rights.document = replace(
        DRIFT,
        tier="stale",
        keyset_version=None,
        state_keyset_version=None,
        state_seq=None,
        state_sha256=None,
        state_iat_s=None,
        state_due_s=None,
        revoked_kids=(),
        revoked_ctis=(),
        provider_iat_min_s=(),
        authorities=(),
    )
    assert await run(tmp_path, "drift") == exits.FAILED
    assert "none: no revocation is known here" in capsys.readouterr().out
    assert await run(tmp_path, "drift", "--json") == exits.FAILED
    assert json.loads(capsys.readouterr().out)["state_seq"] is None


def test_a_stopped_daemon_exits_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["grants", "list", "--socket", str(tmp_path / "control.sock")]) == exits.FAILED
    assert "is gatewayd running?" in capsys.readouterr().err


@pytest.mark.parametrize("after", ["xx", "00" * 33, 7])
async def test_a_hash_that_is_none_is_refused(rights: FixedRights, tmp_path: Path, after: str | int) -> None:
    assert rights.document is DRIFT

    def ask() -> None:
        with ControlClient(tmp_path / "control.sock") as client:
            client._ask("grants", after=after)  # noqa: SLF001 - what the client itself would never ask

    with pytest.raises(ControlError) as refused:
        await asyncio.to_thread(ask)
    assert refused.value.code == "control.malformed"
