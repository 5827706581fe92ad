"""The processes of the demo: air, lock, broker, gateway, central log; and what can be seen and done from outside."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import sqlite3
import sys
from typing import TYPE_CHECKING, Any, Final, TypeVar

from simulator.central_store import CentralStore
from simulator.demo_home import write_home
from simulator.demo_processes import POLL_S, Child, ProcessError, free_port, run_to_end, wait_listening

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from simulator.demo_home import HomeFiles
    from simulator.mqtt_client import MqttVersion
    from simulator.office import Home, Office

MOTOR_MS: Final = 500
"""One stroke: short enough for a demo, long enough to be killed in the middle of."""
LINE_SIZE_MAX: Final = 4 * 1_024 * 1_024
"""Longest answer on a control socket, in bytes."""
T = TypeVar("T")


class World:
    """Everything but the people. `set_up` starts it, `tear_down` ends what was started, and nothing else."""

    def __init__(
        self,
        files: HomeFiles,
        office: Office,
        home: Home,
        *,
        mosquitto: str | None,
        mqtt: MqttVersion,
        motor_ms: int = MOTOR_MS,
    ) -> None:
        self.files = files
        self.office = office
        self.home = home
        self.mqtt = mqtt
        self.broker_name = "embedded" if mosquitto is None else "mosquitto"
        self.broker_port = free_port()
        self.lock_address = ""
        self.gateway_radio = ""
        """HCI transport of the gateway."""
        self.phone_radios: tuple[str, str] = ("", "")
        """HCI transports of two phones."""
        self.lock_options: tuple[str, ...] = ()
        """More options of the lock's process, from its next start on."""
        self._lock_radio = ""
        self._mosquitto = mosquitto
        self._motor_ms = motor_ms
        python = sys.executable
        self.air = self._child("air", python, "-m", "simulator", "air", "--controllers", "4")
        self.broker = self._child("broker", *self._broker_command())
        self.gateway = self._child("gateway", python, "-m", "gatewayd", "run", "--config", str(files.config))
        self.central = self._child("central", *self._central_command())
        self.lock = self._child("lock", *self._lock_command())

    # Setting up and down.

    async def set_up(self, *, now_s: int) -> None:
        """Write the files, start everything but the gateway, and provision it.

        Raises:
            ProcessError: something did not come up.
        """
        self.files.log("air").parent.mkdir(parents=True, exist_ok=True)
        await self.air.start()
        hci = [f"tcp-client:127.0.0.1:{port}" for port in (await self.air.ready())["ports"]]
        self.gateway_radio, self.phone_radios = hci[0], (hci[2], hci[3])
        write_home(
            self.files, self.office, self.home, now_s=now_s, hci=hci[0], broker_port=self.broker_port, mqtt=self.mqtt
        )
        self._write_broker_config()
        self._lock_radio = hci[1]
        await asyncio.gather(self.start_lock(), self.broker.start())
        await wait_listening(self.broker_port)
        await asyncio.gather(self.central.start(), self._provision())
        await self.central.ready()

    async def start_lock(self) -> None:
        """Give the lock power.

        Raises:
            ProcessError: it does not come up.
        """
        self.lock = self._child("lock", *self._lock_command())
        await self.lock.start()
        self.lock_address = (await self.lock.ready())["address"]

    @property
    def children(self) -> tuple[Child, ...]:
        """Every process, those that others need last."""
        return (self.gateway, self.central, self.broker, self.lock, self.air)

    async def tear_down(self) -> None:
        """End every process that was started, and nothing else."""
        for child in self.children:
            await child.stop()

    async def stop_broker(self) -> None:
        """Take the broker away, and with it everything that it had retained."""
        await self.broker.stop()

    async def start_broker(self) -> None:
        """Bring the broker back on the same port, with nothing in it.

        Raises:
            ProcessError: it does not listen.
        """
        await self.broker.start()
        await wait_listening(self.broker_port)

    # What can be seen.

    async def truth(self) -> dict[str, Any]:
        """Return what is true of the lock, from its own process, whatever it may have told the gateway."""
        return await self._ask(self.files.lock_socket, {"get": "truth"})

    async def lock_log(self) -> tuple[bytes, ...]:
        """Return the records that the lock holds, oldest first."""
        log = await self._ask(self.files.lock_socket, {"get": "log"})
        return tuple(bytes.fromhex(record) for record in log["records"])

    async def hand(self, deed: str) -> bool:
        """Do something to the door with a hand: `knob`, `door_open`, `door_close`; False where it does not go."""
        done: bool = (await self._ask(self.files.lock_socket, {"do": deed}))["done"]
        return done

    async def status(self) -> dict[str, Any] | None:
        """Return what the gateway says of itself on its control socket, or None while it does not."""
        try:
            return await self._ask(self.files.gateway_socket, {"version": 1, "ask": "status"})
        except (OSError, ProcessError):
            return None

    async def status_command(self) -> dict[str, Any]:
        """Return the same through the command that a technician would use.

        Raises:
            ProcessError: it printed no JSON.
        """
        _, output = await run_to_end(self.status_words("--json"), log_file=self.files.log("status"))
        try:
            document: dict[str, Any] = json.loads(output)
        except ValueError:
            raise ProcessError("`gatewayd status --json` printed no JSON") from None
        return document

    def status_words(self, *options: str) -> tuple[str, ...]:
        """Return the command that shows how this gateway does."""
        return (sys.executable, "-m", "gatewayd", "status", "--config", str(self.files.config), *options)

    def look_at_central(self, look: Callable[[CentralStore], T]) -> T | None:
        """Look into the central log's file; None while there is none to look into."""
        with (
            contextlib.suppress(sqlite3.OperationalError),
            CentralStore(self.files.central_store, read_only=True) as store,
        ):
            return look(store)
        return None

    # Details.

    def _child(self, name: str, *command: str) -> Child:
        return Child(name, command, log_file=self.files.log(name))

    def _broker_command(self) -> tuple[str, ...]:
        if self._mosquitto is None:
            return (sys.executable, "-m", "simulator", "broker", "--port", str(self.broker_port))
        return (str(self._mosquitto), "-c", str(self.files.root / "mosquitto.conf"))

    def _write_broker_config(self) -> None:
        lines = [f"listener {self.broker_port} 127.0.0.1", "allow_anonymous true", "persistence false"]
        lines.append("set_tcp_nodelay true")
        if os.geteuid() == 0:
            lines.append("user root")  # else it drops to a user who may not read this folder
        (self.files.root / "mosquitto.conf").write_text("\n".join(lines) + "\n")

    def _lock_command(self) -> tuple[str, ...]:
        files, transport = self.files, self._lock_radio
        return (
            *(sys.executable, "-m", "simulator", "lock", "--transport", transport, "--motor-ms", str(self._motor_ms)),
            *("--home", str(files.lock_keys), "--flash", str(files.lock_flash), "--control", str(files.lock_socket)),
            *self.lock_options,
        )

    def _central_command(self) -> tuple[str, ...]:
        files = self.files
        return (
            *(sys.executable, "-m", "simulator", "central", "--port", str(self.broker_port), "--mqtt", self.mqtt.value),
            *("--credentials", str(files.central_credentials), "--store", str(files.central_store)),
        )

    async def _provision(self) -> None:
        files = self.files
        command = (sys.executable, "-m", "gatewayd", "provision", "--config", str(files.config), str(files.provision))
        code, _ = await run_to_end(command, log_file=files.log("provision"))
        if code != 0:
            raise ProcessError(f"`gatewayd provision` failed:\n{files.log('provision').read_text()}")

    async def _ask(self, path: Path, question: dict[str, Any]) -> dict[str, Any]:
        reader, writer = await asyncio.open_unix_connection(path, limit=LINE_SIZE_MAX)
        try:
            writer.write(json.dumps(question).encode() + b"\n")
            line = await reader.readline()
        finally:
            writer.close()
        answer = json.loads(line) if line else {"error": "hung up"}
        if "error" in answer:
            raise ProcessError(f"no answer on {path.name}: {answer['error']}")
        document: dict[str, Any] = answer.get("answer", answer)
        return document


async def poll(look: Callable[[], Awaitable[T]], *, timeout_s: float) -> T:
    """Return the first true value that `look` finds, or its last where time is up."""
    loop = asyncio.get_running_loop()
    deadline_s = loop.time() + timeout_s
    while True:
        found = await look()
        if found or loop.time() >= deadline_s:
            return found
        await asyncio.sleep(POLL_S)


def find_mosquitto() -> str | None:
    """Return where mosquitto is installed, or None."""
    return shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
