"""`python -m simulator broker --port N`: an MQTT 3.1.1 broker for machines without mosquitto.

amqtt is good enough for a demo, not for tests of promises: it knows no MQTT 5, so a refused publish and a
missing listener stay unsaid.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from typing import Final

from amqtt.broker import Broker  # type: ignore[import-untyped]  # it ships no annotations
from amqtt.contexts import BrokerConfig, ListenerConfig  # type: ignore[import-untyped]

_ANONYMOUS: Final = {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}}


class EmbeddedBroker:
    """One broker on a loopback port, in the running loop. Nothing outlives it."""

    def __init__(self, port: int) -> None:
        listener = ListenerConfig(bind=f"127.0.0.1:{port}")
        self._broker = Broker(BrokerConfig(listeners={"default": listener}, plugins=_ANONYMOUS))

    async def start(self) -> None:
        """Listen."""
        await self._broker.start()

    async def stop(self) -> None:
        """End all sessions and stop listening."""
        await self._broker.shutdown()


async def serve(port: int) -> None:
    """Run until SIGTERM or SIGINT; prints one line when it listens."""
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    broker = EmbeddedBroker(port)
    await broker.start()
    sys.stdout.write(f"broker listens on 127.0.0.1:{port}\n")
    sys.stdout.flush()
    await stopping.wait()
    await broker.stop()


def main(argv: list[str]) -> int:
    """Run the command; see the module."""
    parser = argparse.ArgumentParser(prog="python -m simulator broker")
    parser.add_argument("--port", type=int, default=1883, help="on 127.0.0.1 (default: %(default)s)")
    asyncio.run(serve(parser.parse_args(argv).port))
    return 0
