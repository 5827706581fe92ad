"""Being told to stop, obeyed whatever else happens in the same moment; and nobody living on half."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

if TYPE_CHECKING:
    from collections.abc import Collection, Coroutine

T = TypeVar("T")


class PartEndedError(Exception):
    """A part that lives as long as its fellows has ended without a reason: a bug. Nobody goes on without it."""


async def until_one_ends(parts: Collection[asyncio.Task[Any]]) -> NoReturn:
    """Wait in the body of a TaskGroup while its parts live, none of which returns.

    A group hears of a part that raises. One that returns, or is cancelled by mistake, it lets go without a word: the
    rest would live on as if nothing were amiss, connected and deaf.

    Raises:
        PartEndedError: one has ended so.
    """
    ended, _ = await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
    if any(not part.cancelled() and part.exception() is not None for part in ended):
        await asyncio.Event().wait()  # the group has heard of it, and is about to cancel this too
    raise PartEndedError(", ".join(sorted(getattr(part.get_coro(), "__qualname__", "a part") for part in ended)))


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
