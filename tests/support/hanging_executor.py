"""An inline executor whose thread can hang, as one does that waits for a disk, and goes on when it is told to."""

from __future__ import annotations

from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from tests.support.inline_executor import InlineExecutor

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
T = TypeVar("T")


class HangingExecutor(InlineExecutor):
    """Done when `submit` returns, unless it hangs: then what was submitted is done when it goes on, late."""

    def __init__(self) -> None:
        self._is_hanging = False
        self._held: list[tuple[Future[Any], Callable[[], Any]]] = []

    def hang(self) -> None:
        """Answer nothing from now on."""
        self._is_hanging = True

    def go_on(self) -> None:
        """Do what was asked for meanwhile, as a disk does that has the commands in its queue."""
        self._is_hanging = False
        held, self._held = self._held, []
        for future, call in held:
            future.set_result(call())

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run `fn`, or hold it back."""
        if not self._is_hanging:
            return super().submit(fn, *args, **kwargs)
        future: Future[T] = Future()
        self._held.append((future, lambda: fn(*args, **kwargs)))
        return future
