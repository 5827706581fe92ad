"""A home whose gateway is the shipped service in a guest; the air and everybody else stay on this machine."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, Final

from simulator.demo_home import LOCK_BURST
from simulator.demo_processes import Child, ProcessError
from simulator.demo_world import World
from tests.support.guest import GuestError

if TYPE_CHECKING:
    from tests.support.guest import Guest

CONFIG_FOLDER: Final = "/etc/gatewayd"
CONTROL_SOCKET: Final = "/run/gatewayd/control.sock"
START_S_MAX: Final = 320.0
"""Longest start of the service, in seconds: check-config, then the daemon, emulated."""
STATE_MODE: Final = 0o600


class GuestService(Child):
    """The gateway's service as a process of the demo's world. A kill is a kill: it comes back when it is started."""

    def __init__(self, guest: Guest) -> None:
        super().__init__("gateway", (), log_file=guest.journal_file)
        self._guest = guest

    async def start(self) -> None:
        """Start it, and wait until it says that it is ready.

        Raises:
            ProcessError: it did not come up; with its last words.
        """
        try:
            await self._guest.run("systemctl", "start", "gatewayd", timeout_s=START_S_MAX)
        except GuestError as error:
            raise ProcessError(f"{error}\n{self.tail()}") from error

    async def stop(self) -> None:
        """Stop it in order."""
        await self._guest.run("systemctl", "stop", "gatewayd")

    async def kill(self) -> None:
        """Kill it, and keep systemd from starting it again."""
        await self._guest.run("sh", "-c", "systemctl kill --signal=KILL gatewayd; systemctl stop gatewayd")


class GuestWorld(World):
    """The demo's world around a gateway in `guest`."""

    def __init__(self, *arguments: Any, guest: Guest, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.guest = guest
        self.gateway = GuestService(guest)
        self.adapter = -1
        """The N of the hciN that was plugged in last."""

    async def set_up(self, *, now_s: int) -> None:
        """See `World.set_up`."""
        await super().set_up(now_s=now_s)
        self.files.log("gateway").symlink_to(self.guest.journal_file)

    async def tear_down(self) -> None:
        """See `World.tear_down`; the guest is left with no gateway and no adapter."""
        await super().tear_down()
        await self.pull_adapter()

    async def plug_adapter(self) -> int:
        """Plug the gateway's radio into the guest's kernel, and return its N of hciN."""
        self.adapter = await self.guest.plug(int(self.gateway_radio.rpartition(":")[2]))
        return self.adapter

    async def pull_adapter(self) -> None:
        """Pull it out."""
        if self.adapter >= 0:
            await self.guest.pull(self.adapter)
        self.adapter = -1

    async def status(self) -> dict[str, Any] | None:
        """See `World.status`."""
        try:
            line = await self.guest.ask(CONTROL_SOCKET, json.dumps({"version": 1, "ask": "status"}))
        except GuestError:
            return None
        answer: dict[str, Any] | None = json.loads(line).get("answer") if line else None
        return answer

    async def status_command(self) -> dict[str, Any]:
        """See `World.status_command`."""
        done = await self.guest.run("/opt/gatewayd/bin/gatewayd", "status", "--json", is_checked=False)
        try:
            document: dict[str, Any] = json.loads(done.output)
        except ValueError:
            raise ProcessError(f"`gatewayd status --json` printed no JSON but {done.output}{done.errors}") from None
        return document

    async def _provision(self) -> None:
        """Install the gateway in the guest as an installer would, with nothing left of one before it."""
        run = self.guest.run
        await run("systemctl", "stop", "gatewayd", "bluetooth")
        await run("sh", "-c", f"rm -rf {CONFIG_FOLDER} /var/lib/gatewayd /var/lib/bluetooth/*")
        await run("systemd-sysusers", "/usr/lib/sysusers.d/gatewayd.conf")
        await run("systemd-tmpfiles", "--create", "/usr/lib/tmpfiles.d/gatewayd.conf")
        await self.guest.write(f"{CONFIG_FOLDER}/config.toml", self._guest_config())
        source = self.files.config.parent
        for path in (*source.glob("conf.d/*"), *source.glob("trust.d/*")):
            await self.guest.write(f"{CONFIG_FOLDER}/{path.relative_to(source)}", path.read_text())
        for path in source.glob("credentials/*"):
            secret = path.read_bytes().hex()
            await self.guest.write(f"{CONFIG_FOLDER}/{path.relative_to(source)}", secret, mode=STATE_MODE)
        await self.guest.write("/root/provision.json", self.files.provision.read_text(), mode=STATE_MODE)
        command = f"{CONFIG_FOLDER}/config.toml", "/root/provision.json"
        provision = ("/opt/gatewayd/bin/gatewayd", "provision", "--config", *command)
        await asyncio.gather(run(*provision), self.plug_adapter(), run("systemctl", "start", "bluetooth"))
        await run("sh", "-c", "chown -R gatewayd:gatewayd /var/lib/gatewayd")

    def _guest_config(self) -> str:
        return f"""\
[mqtt]
host = "10.0.2.2"
port = {self.broker_port}
protocol = "{self.mqtt.value}"
tls = false

[limits]
lock_burst = {LOCK_BURST}

[log]
level = "info"

[locks.front-door]
lock_id = "{self.home.lock_id.hex()}"
"""
