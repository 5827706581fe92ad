"""The decision time beside the number of grants that are kept: a bare command under one grant of 10, and of 100,000.

The very same house and store as in `bench_unlock`; the command names its grant by hash and brings nothing else. Each
command is under another grant than the ones before, so that none is found in memory.
"""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.bench_unlock import Deaf, NotingLink, open_provisioned
from benchmarks.rows import Row, median
from firmware_protocol import cose
from firmware_protocol.chains import make_bundle, parse_bundle
from firmware_protocol.vocabulary import OfflineClass
from gatewayd.channel import Channel, Submission
from gatewayd.store import trust
from simulator.office import Holder, Office, unlock_at_door

if TYPE_CHECKING:
    from gatewayd.house import House
    from gatewayd.store.store import Transaction
    from simulator.office import Home

COMMAND_COUNT: Final = 200
FEW: Final = 10
MANY: Final = 100_000
RATIO_MAX: Final = 1.3
"""Flat, but for a level more of the store's tree and the noise of the machine."""
FILL_SIZE: Final = 600
"""Bytes of a grant that only takes up room."""


async def figures_ms(folder: Path, grant_count: int) -> list[float]:
    """Return how long each command took from its bytes to the order to move."""
    office, now_s = Office(b"bench"), int(time.time())
    home = office.home("bench")
    house = await open_provisioned(folder, office, home, now_s)
    link = NotingLink()
    house.links[home.lock_id] = link  # type: ignore[assignment]  # what the door asks of a link, it does
    holders = [_holder(office, home, number, now_s) for number in range(COMMAND_COUNT)]
    await house.base.trust.take_authority(office.authority(home, "care", now_s=now_s))
    await house.base.seams.store.run(lambda tx: _fill(tx, holders, office, grant_count, now_s))
    spent_ms = []
    for number, holder in enumerate(holders):
        submission = _submission(house, holder, home, number, now_s)
        started_s = time.perf_counter()
        await house.door(submission, Deaf())
        spent_ms.append((link.ordered_s[-1] - started_s) * 1_000)
    if len(link.ordered_s) != COMMAND_COUNT:
        raise RuntimeError("a command was refused: what is measured is no figure")
    await house.base.seams.store.close()
    return spent_ms


def _holder(office: Office, home: Home, number: int, now_s: int) -> Holder:
    signed = office.grant(home, "care", "anna", now_s=now_s, offline_class=OfflineClass.RESPONDER, number=number)
    return Holder(key=office.signing_key("device-anna"), grant=signed)


def _fill(tx: Transaction, holders: list[Holder], office: Office, grant_count: int, now_s: int) -> None:
    """Keep the grants that will be asked for, and around them as many that only take up room."""
    issuer = cose.kid_of(bytes(office.signing_key("provider-care").verify_key))
    for holder in holders:
        grant = trust.StoredGrant(
            sha256=hashlib.sha256(holder.grant).digest(),
            issuer_kid=issuer,
            cti=bytes(16),
            exp_s=now_s + 3_600,
            raw=holder.grant,
        )
        trust.save_grant(tx, grant, now_s=now_s)
    tx.execute(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) "
        "INSERT INTO grants (sha256, issuer_kid, cti, exp_s, raw) "
        "SELECT randomblob(32), randomblob(8), randomblob(16), ? + i, randomblob(?) FROM n",
        (grant_count, now_s + 3_600, FILL_SIZE),
    )


def _submission(house: House, holder: Holder, home: Home, number: int, now_s: int) -> Submission:
    challenge, command_id = number.to_bytes(16, "big"), (number + 10**6).to_bytes(16, "big")
    house.watch.on_challenge(home.lock_id, challenge, house.base.seams.clock.now())
    bundle = unlock_at_door(holder, home, challenge=challenge, command_id=command_id, now_s=now_s)
    bare = make_bundle(parse_bundle(bundle)[0])
    return Submission(channel=Channel.RELAY, bundle=bare, lock_id=home.lock_id, challenge=challenge)


def run() -> list[Row]:
    """Few and many in turn, twice."""
    few: list[float] = []
    many: list[float] = []
    for _ in range(2):
        for grant_count, into in ((FEW, few), (MANY, many)):
            with tempfile.TemporaryDirectory(prefix="gatewayd-bench-") as folder:
                into.extend(asyncio.run(figures_ms(Path(folder), grant_count)))
    return [
        Row(
            name="bare command to the order to move, 100,000 grants beside 10, median",
            unit="ms",
            floor=median(few),
            figure=median(many),
            ratio_max=RATIO_MAX,
        )
    ]
