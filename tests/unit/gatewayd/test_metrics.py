"""The file for Prometheus' textfile collector, read back by a strict reader of its format."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from gatewayd.errors import GatewayError
from gatewayd.metrics import metrics_text, write_metrics
from tests.support.control_bench import STATUS, FixedStatus

if TYPE_CHECKING:
    from pathlib import Path

SAMPLE = re.compile(r'(carelock_[a-z_]+)(?:\{((?:[a-z]+="(?:[^"\\\n]|\\[\\"n])*",?)+)\})? (-?[0-9.e+-]+)')


def read_back(text: str) -> dict[str, float]:
    """Return each sample by its name and labels; everything else than HELP, TYPE and samples of it is an error."""
    found: dict[str, float] = {}
    announced: list[str] = []
    for line in text.removesuffix("\n").split("\n"):
        if line.startswith("# HELP "):
            announced.append(line.split(" ")[2])
            assert announced.count(announced[-1]) == 1, "a metric twice"
        elif line.startswith("# TYPE "):
            assert line.split(" ")[2:] in ([announced[-1], "gauge"], [announced[-1], "counter"])
        else:
            matched = SAMPLE.fullmatch(line)
            assert matched is not None, line
            assert matched[1] == announced[-1]
            key = line.rpartition(" ")[0].removeprefix("carelock_")
            assert key not in found
            found[key] = float(matched[3])
    return found


def test_the_status_is_told_as_samples_that_a_strict_reader_takes() -> None:
    told = read_back(metrics_text(STATUS, {"retained": 2, "unreadable": 1}))
    lock = 'lock="8899aabbccddeeff"'
    assert told['info{gateway="0011223344556677",version="0.1.0"}'] == 1
    assert told["broker_connected"] == 1
    assert told["up_seconds"] == 7_200
    assert told[f"lock_battery_volts{{{lock}}}"] == 5.9
    assert told[f'lock_bolt{{{lock},state="locked"}}'] == 1
    assert told[f'lock_bolt{{{lock},state="jammed"}}'] == 0
    assert told['tier{tier="fresh"}'] == 1
    assert told['broker_dropped_messages_total{reason="retained"}'] == 2


def test_what_is_not_known_is_left_out_and_never_zero() -> None:
    (lock,) = STATUS.locks
    blind = replace(lock, ready=False, rssi_dbm=None, battery_mv=None, observed_age_ms=None, bolt="unknown")
    told = read_back(metrics_text(replace(STATUS, locks=(blind,)), {}))
    assert not [name for name in told if "rssi" in name or "battery" in name or "observed" in name]
    assert "outbox_oldest_age_seconds" not in told
    assert told['lock_ready{lock="8899aabbccddeeff"}'] == 0


def test_jammed_and_unreachable_are_told_apart() -> None:
    (lock,) = STATUS.locks
    jammed = read_back(metrics_text(replace(STATUS, locks=(replace(lock, bolt="jammed"),)), {}))
    away = read_back(metrics_text(replace(STATUS, locks=(replace(lock, ready=False),)), {}))
    name = 'lock="8899aabbccddeeff"'
    assert (jammed[f'lock_bolt{{{name},state="jammed"}}'], jammed[f"lock_ready{{{name}}}"]) == (1, 1)
    assert (away[f'lock_bolt{{{name},state="jammed"}}'], away[f"lock_ready{{{name}}}"]) == (0, 0)


def test_attack_a_version_with_quotes_and_line_breaks_forges_no_sample() -> None:
    hostile = replace(STATUS, version='1"} 1\ncarelock_broker_connected 0\\')
    assert read_back(metrics_text(hostile, {}))["broker_connected"] == 1


async def test_the_file_is_replaced_as_a_whole_and_survives_what_stands_in_the_way(tmp_path: Path) -> None:
    path, status = tmp_path / "not yet" / "gatewayd.prom", FixedStatus()
    status.error = GatewayError("store.io", "the card is gone")
    writing = asyncio.create_task(write_metrics(path, status=status, dropped=dict, interval_s=0.01))
    while status.count < 3:
        await asyncio.sleep(0.01)
    status.error = None
    while status.count < 6:  # the folder is not there
        await asyncio.sleep(0.01)
    path.parent.mkdir()
    while not path.exists():
        await asyncio.sleep(0.01)
    assert read_back(path.read_text())["broker_connected"] == 1
    assert path.stat().st_mode & 0o777 == 0o644
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
