"""`gatewayd explain` on a folder of bundles, and the live daemon on the same bundles: one verdict."""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from typing import TYPE_CHECKING, Any, Final

import pytest

from firmware_protocol.chains import make_bundle, parse_bundle
from firmware_protocol.vocabulary import Rights
from simulator.demo_stage import PROVIDER
from simulator.office import unlock_over_mqtt
from tests.support.real_home import RealHome

if TYPE_CHECKING:
    from pathlib import Path

    from simulator.alarm_centre import Reply, Standing
    from simulator.office import Holder

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]
ANSWER_MS_MAX: Final = 15_000
TTL_S: Final = 60


def holders(home: RealHome) -> dict[str, Holder]:
    """People with a right and without one; what they send differs in nothing else."""
    people, now_s = home.people, home.people.now_s

    def carer(person: str, **grant: Any) -> Holder:
        signed = people.office.grant(people.home, PROVIDER, person, **({"now_s": now_s} | grant))
        return people.office.carer(people.home, PROVIDER, person, now_s=now_s, grant=signed)

    return {
        "permitted": carer("anna"),
        "rights": carer("bo", rights=Rights.LOCK),
        "window": carer("cia", windows=((now_s + 7_200, now_s + 9_000),)),
        "uses": carer("dag", use_count_max=0),
        "life": carer("eva", exp_s=now_s + 48 * 3_600),
        "over": people.with_expired_grant(),
        "later": carer("gun", nbf_s=now_s + 7_200),
        "state": carer("ida", state_seq_min=9),
        "elsewhere": people.with_grant_elsewhere(),
        "operator": people.operator,
        "stranger": people.stranger,
    }


def bundles(home: RealHome, standing: Standing, now_ms: int) -> dict[str, bytes]:
    lock_id, people = home.people.home.lock_id, home.people
    epoch, issued_s = standing.epoch_of(lock_id), standing.now_s(lock_id, now_ms)

    def unlock(holder: Holder, **changes: Any) -> bytes:
        fresh: dict[str, Any] = {"epoch": epoch, "issued_s": issued_s, "ttl_s": TTL_S} | changes
        return unlock_over_mqtt(holder, people.home, command_id=people.entropy.token(16), now_s=people.now_s, **fresh)

    made = {name: unlock(holder) for name, holder in holders(home).items()}
    command, *chain = parse_bundle(unlock(people.anna))
    return made | {
        "epoch": unlock(people.anna, epoch=bytes(16)),
        "ttl": unlock(people.anna, ttl_s=TTL_S + 1),
        "early": unlock(people.anna, issued_s=issued_s + 3_600),
        "no-alarm": unlock(people.operator, alarm_ref=bytes(16)),
        "signature": make_bundle(command[:-1] + bytes((command[-1] ^ 1,)), *chain),
        "grantless": make_bundle(command),
        "garbage": b"\x83\x41\x00\x41\x00\x41\x00",
    }


async def explain(home: RealHome, folder: Path) -> dict[str, dict[str, Any]]:
    words = (sys.executable, "-m", "gatewayd", "explain", str(folder), "--json")
    process = await asyncio.create_subprocess_exec(
        *words, "--config", str(home.world.files.config), stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    return {each["bundle"]: each for each in json.loads(output)}


def verdict(reply: Reply) -> str:
    """What the sender heard: the code of the decision, or the one plain no."""
    assert reply.unverified_count == 0
    return reply.receipts[0].code.dotted if reply.receipts else "denied" if reply.denied else "nothing"


async def test_explain_on_a_folder_of_bundles_gives_the_verdicts_of_the_live_daemon(tmp_path: Path) -> None:
    async with RealHome(tmp_path) as home, home.alarm_centre() as centre:
        await home.start_gateway()
        await home.wait_clock()
        standing = await centre.ask_info()
        assert standing is not None
        made = bundles(home, standing, centre.now_ms())
        folder = tmp_path / "bundles"
        folder.mkdir()
        for name, bundle in made.items():
            (folder / name).write_bytes(base64.b64encode(bundle))
        explained = await explain(home, folder)
        assert {each["source"] for each in explained.values()} == {"daemon"}
        said = {name: each["code"] if each["authenticated"] else "denied" for name, each in explained.items()}
        replies: dict[str, Reply] = {}
        # Those who prove nothing first: a grant that came with a permitted command is kept, and known from then on.
        for name, bundle in sorted(made.items(), key=lambda each: said[each[0]] != "denied"):
            if said[name] == "denied":
                await asyncio.sleep(1.1)  # those who prove nothing are answered once a second, all of them together
            replies[name] = await centre.command(bundle, patience_ms=ANSWER_MS_MAX)
        assert {name: verdict(reply) for name, reply in replies.items()} == said
        assert len(set(said.values())) >= 13
        again = await explain(home, folder)
        for name, reply in replies.items():
            repeated = bool(reply.receipts)
            assert (again[name]["verdict"] == "repeated") is repeated, name
