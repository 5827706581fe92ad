"""The office's central log at a real broker, in this process, with a diary of what reached it."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Self

from simulator.central import CentralPost
from simulator.journal_leaf import read_leaf
from simulator.mqtt_client import MqttClient, MqttError, MqttVersion

if TYPE_CHECKING:
    from types import TracebackType

    from tests.support.uplink_bench import UplinkBench


class LogClient:
    """`async with LogClient(bench, port) as central`; may be entered again."""

    def __init__(self, bench: UplinkBench, port: int, *, keeps_session: bool = False) -> None:
        self._bench = bench
        self._port = port
        self._keeps_session = keeps_session
        self._log = bench.new_central()
        self._post = CentralPost(self._log)
        self.received: list[int] = []
        """Index of every entry that came, however often."""

    async def __aenter__(self) -> Self:
        ready = asyncio.Event()
        self._task = asyncio.get_running_loop().create_task(self._serve(ready))
        await ready.wait()
        return self

    async def __aexit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    def indexes(self) -> list[int]:
        """Return the indexes that came, each once, in the order of their first coming."""
        return list(dict.fromkeys(self.received))

    async def _serve(self, ready: asyncio.Event) -> None:
        while True:
            with contextlib.suppress(MqttError):
                await self._serve_once(ready)
            await asyncio.sleep(0.05)

    async def _serve_once(self, ready: asyncio.Event) -> None:
        topics = self._bench.topics
        client = MqttClient(
            port=self._port, client_id="central", version=MqttVersion.V5, keeps_session=self._keeps_session
        )
        async with client:
            await client.subscribe((topics.log_entries, topics.log_checkpoint))
            ready.set()
            while True:
                mail = await client.next_mail()
                if mail.topic == topics.log_entries:
                    self.received.append(read_leaf(mail.payload).index)
                await self._post.deliver(client, mail)
