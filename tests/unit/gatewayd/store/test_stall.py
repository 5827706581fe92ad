"""A disk that does not answer: nobody waits for it longer than `STALL_S`, and it works again when it has answered."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from gatewayd.store import alarms
from gatewayd.store.store import STALL_S, Health, Store, StoreCode, StoreError
from tests.support.hanging_executor import HangingExecutor
from tests.support.journal_bench import LOG_ID
from tests.support.virtual_loop import run_virtual

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gatewayd.store.store import Transaction


def put(name: bytes) -> Callable[[Transaction], None]:
    return lambda tx: alarms.open_alarm(tx, bytes(8), name, 1)


def test_works_in_a_hanging_disks_hands_are_given_up_and_may_be_kept_and_those_behind_them_never_run(
    tmp_path: Path,
) -> None:
    async def story() -> None:
        executor, loop = HangingExecutor(), asyncio.get_running_loop()
        store = Store.create(tmp_path / "store.db", log_id=LOG_ID, executor=executor)
        await store.run(put(b"before"))
        store.health_changed.clear()
        executor.hang()
        started_s = loop.time()
        given = asyncio.create_task(store.run(put(b"given")))
        await asyncio.sleep(STALL_S / 2)
        behind = asyncio.create_task(store.run(put(b"behind")))
        results = await asyncio.gather(given, behind, return_exceptions=True)
        assert [getattr(each, "code", None) for each in results] == [StoreCode.STALLED] * 2
        assert loop.time() - started_s == pytest.approx(STALL_S)
        assert (store.health, store.health_changed.is_set()) == (Health.STALLED, True)
        with pytest.raises(StoreError) as refused:
            await store.run(put(b"while it hangs"))
        assert refused.value.code == StoreCode.STALLED
        assert loop.time() - started_s == pytest.approx(STALL_S), "the next one does not wait at all"
        store.health_changed.clear()
        executor.go_on()
        await asyncio.sleep(0)
        assert (store.health, store.health_changed.is_set()) == (Health.WRITABLE, True)
        await store.run(put(b"after"))
        kept = {alarm.alarm_ref for alarm in await store.run(alarms.load_alarms)}
        assert kept == {b"before", b"given", b"after"}
        await store.close()

    run_virtual(story())


def test_a_disk_that_answers_just_in_time_is_not_given_up(tmp_path: Path) -> None:
    async def story() -> None:
        executor = HangingExecutor()
        store = Store.create(tmp_path / "store.db", log_id=LOG_ID, executor=executor)
        executor.hang()
        slow = asyncio.create_task(store.run(put(b"slow")))
        await asyncio.sleep(STALL_S - 0.001)
        executor.go_on()
        await slow
        await asyncio.sleep(2 * STALL_S)
        assert store.health is Health.WRITABLE
        await store.close()

    run_virtual(story())
