"""A bar that cannot be missed holds nothing: both sides of each."""

from __future__ import annotations

import json

import pytest

from benchmarks.__main__ import bench_names, document, main
from benchmarks.rows import BenchError, Row, median, percentile, table


@pytest.mark.parametrize(
    ("figure", "held"), [pytest.param(15, True, id="on the bar"), pytest.param(15.1, False, id="above it")]
)
def test_a_cost_is_held_up_to_its_ratio(figure: float, held: bool) -> None:  # noqa: FBT001 - a table's column
    assert Row(name="start", unit="ms", floor=10, figure=figure, ratio_max=1.5).held is held


@pytest.mark.parametrize(
    ("figure", "held"), [pytest.param(4, True, id="on the bar"), pytest.param(3.9, False, id="below it")]
)
def test_a_throughput_is_held_down_to_its_ratio(figure: float, held: bool) -> None:  # noqa: FBT001 - a table's column
    assert Row(name="drain", unit="1/s", floor=10, figure=figure, ratio_min=0.4).held is held


@pytest.mark.parametrize(
    ("figure", "held"), [pytest.param(64, True, id="on the bar"), pytest.param(64.1, False, id="above it")]
)
def test_an_absolute_bar_holds_even_where_the_floor_has_grown(figure: float, held: bool) -> None:  # noqa: FBT001
    assert Row(name="rss", unit="MiB", floor=60, figure=figure, ratio_max=1.2, figure_max=64).held is held


def test_a_floor_of_nothing_is_never_reached() -> None:
    assert not Row(name="start", unit="ms", floor=0, figure=1, ratio_max=1.5).held


def test_the_table_marks_the_miss_and_only_it() -> None:
    kept = Row(name="kept", unit="ms", floor=10, figure=11, ratio_max=1.5)
    missed = Row(name="missed", unit="ms", floor=10, figure=16, ratio_max=1.5)
    lines = table([kept, missed]).splitlines()
    assert lines[1].split() == ["kept", "ms", "10", "11", "1.10", "≤", "1.5", "x"]
    assert lines[2].split() == ["missed", "ms", "10", "16", "1.60", "≤", "1.5", "x", "MISS"]


def test_machines_read_what_was_not_measured_too() -> None:
    row = Row(name="start", unit="ms", floor=10, figure=11, ratio_max=1.5)
    read = json.loads(document([row], ["drain: no broker"]))
    assert read["rows"][0]["ratio"] == pytest.approx(1.1)
    assert read["not_measured"] == ["drain: no broker"]


def test_one_slow_run_does_not_move_the_median() -> None:
    assert median([10, 11, 900]) == 11


def test_a_percentile_is_what_so_many_runs_do_not_exceed() -> None:
    assert percentile(list(range(101)), 99) == 99


def test_no_run_is_no_figure() -> None:
    with pytest.raises(BenchError):
        median([])


def test_an_unknown_bench_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["no-such-bench"])
    assert ended.value.code == 2
    assert "no such bench: no-such-bench" in capsys.readouterr().err


def test_the_start_is_among_the_benches() -> None:
    assert "start" in bench_names()
