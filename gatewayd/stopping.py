"""Being told to stop, obeyed whatever else happens in the same moment."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine

T = TypeVar("T")


async def run_apart(work: Coroutine[Any, Any, T]) -> T:
    """Run `work` in a task of its own; a cancellation of the caller always comes out as one.

    A TaskGroup of Python 3.11 forgets its task's cancellation where a child failed in the same turn of the
    loop, and leaves `cancelling()` above zero where it cancelled that task itself. Whoever catches the
    failure and goes on would then live on after a stop. Here the caller waits outside of the group's task.

    Raises:
        CancelledError: the caller was cancelled; `work` has ended.
        Exception: whatever `work` raised.
    """
    task = asyncio.get_running_loop().create_task(work)
    try:
        await asyncio.wait({task})
    except asyncio.CancelledError:
        task.cancel()
        await asyncio.wait({task})
        if not task.cancelled():
            task.exception()  # looked at: a link that is lost in the moment of a stop is nobody's unheard error
        raise
    return task.result()
