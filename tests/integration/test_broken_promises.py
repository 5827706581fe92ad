"""Each patch in `broken/` breaks one promise in a copy of the tree; the demo must fail there and name it."""

from __future__ import annotations

import shutil
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from simulator.demo_promises import Promise
from tests.support.demo_runs import RUN_S_MAX, DemoRun, apply_patch, copy_tree, run_demo

if TYPE_CHECKING:
    from collections.abc import Iterator

PATCHES: Final = sorted(Path(__file__).with_name("broken").glob("*.patch"))
AT_ONCE_COUNT: Final = 3
"""A run mostly waits; more of them at once only wait for the processor."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(RUN_S_MAX * len(PATCHES))]


@pytest.fixture(scope="module")
def runs(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Future[DemoRun]]]:
    """The runs of every patch that a test of this session asks for, some at once."""
    snapshot = copy_tree(tmp_path_factory.mktemp("snapshot"))

    def run(patch: Path) -> DemoRun:
        tree = tmp_path_factory.mktemp(patch.stem)
        shutil.copytree(snapshot, tree, dirs_exist_ok=True)
        try:
            apply_patch(patch, tree)
            return run_demo("--until-broken", patch.stem, tree=tree)
        finally:
            shutil.rmtree(tree)

    wanted = {
        item.callspec.params["patch"]
        for item in request.session.items
        if hasattr(item, "callspec") and "patch" in item.callspec.params
    }
    with ThreadPoolExecutor(max_workers=AT_ONCE_COUNT) as pool:
        yield {patch.stem: pool.submit(run, patch) for patch in PATCHES if patch in wanted}
        pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize("patch", PATCHES, ids=lambda patch: patch.stem)
def test_the_demo_names_the_promise_that_a_patch_breaks(runs: dict[str, Future[DemoRun]], patch: Path) -> None:
    run = runs[patch.stem].result()
    assert run.code == 1, run.story
    assert patch.stem in run.broken(), run.story
    assert run.broken()[patch.stem] != "not shown", run.story


def test_every_patch_is_named_by_a_promise() -> None:
    assert {patch.stem for patch in PATCHES} <= {promise.value for promise in Promise}
    assert len(PATCHES) >= 10


def test_every_patch_fits_the_code(tmp_path: Path) -> None:
    snapshot = copy_tree(tmp_path / "tree")
    for patch in PATCHES:
        apply_patch(patch, snapshot, check=True)
