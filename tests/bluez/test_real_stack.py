"""The shipped service on a stock Debian kernel, under the stock systemd and the stock BlueZ, with a lock on the air.

The machine is emulated and slow: every wait is for an event, with a bound that only a hang reaches. No limit of the
protocol is changed; the lock's own clock says how fast it accepts. The tests share one home and leave it connected.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
import pytest_asyncio

from firmware_protocol.codes import Code
from firmware_protocol.constants import LOCK_CMD_ACCEPTED_MS_MAX
from tests.support.guest_operator import GuestOperator
from tests.support.guest_world import GuestWorld
from tests.support.home_audit import audit
from tests.support.real_home import CONFIG, RealHome

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.errands import Errand
    from tests.support.guest import Done, Guest
    from tests.support.guest_phases import Phases

COMMAND_COUNT: Final = 100
WAIT_S_MAX: Final = 240.0
"""Longest wait for anything in the guest, in seconds."""
WATCHDOG_DROP_IN: Final = "[Service]\nWatchdogSec=5\n"
DROP_IN: Final = "/run/systemd/system/gatewayd.service.d/50-watchdog.conf"
POLKITD: Final = Path("/usr/lib/polkit-1/polkitd")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600), pytest.mark.asyncio(loop_scope="session")]


class GuestHome(RealHome):
    """A home whose gateway runs in the guest; `errands` is every command that was ever sent in it."""

    world: GuestWorld
    wait_s_max = WAIT_S_MAX

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.errands: list[Errand] = []

    async def boot_and_session(self) -> tuple[int, int]:
        """Return how often the lock has booted, and the number of its newest session."""
        truth = await self.world.truth()
        return truth["boot"], truth["session_ctr"]

    async def wait_new_session(self, session_ctr: int) -> None:
        """Wait until there is a newer session than that, and the gateway believes in it."""

        async def look() -> bool:
            truth = await self.world.truth()
            return truth["session_ctr"] > session_ctr and truth["connected"] and await self.is_connected()

        await self.wait(look, f"a session after {session_ctr}")

    async def show(self, *properties: str) -> dict[str, str]:
        """Return what systemd says of the gateway's service."""
        done = await self.world.guest.run("systemctl", "show", "gatewayd", f"--property={','.join(properties)}")
        return dict(line.partition("=")[::2] for line in done.output.splitlines())


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def home(guest: Guest, tmp_path_factory: pytest.TempPathFactory, phases: Phases) -> AsyncIterator[GuestHome]:
    home = GuestHome(
        tmp_path_factory.mktemp("home"), config=CONFIG, make_world=functools.partial(GuestWorld, guest=guest)
    )
    with phases("a home set up and provisioned"):
        await home.__aenter__()
    try:
        # A start costs more than all else here: the kill by the watchdog is the restart into the unit as it is shipped.
        await guest.write(DROP_IN, WATCHDOG_DROP_IN)
        await guest.run("systemctl", "daemon-reload")
        with phases("gatewayd started by systemd with WatchdogSec=5, until it said that it was ready"):
            await home.world.gateway.start()
        with phases("connected to the lock and to the broker"):
            await home.wait_connected()
        yield home
    finally:
        await home.__aexit__()


@pytest_asyncio.fixture(loop_scope="session")
async def connected(home: GuestHome) -> GuestHome:
    """The home, with everything up again after the test before."""
    if (await home.show("ActiveState"))["ActiveState"] != "active":
        await home.world.gateway.start()
    await home.wait_connected()
    return home


async def test_a_service_that_hangs_is_killed_by_the_watchdog_and_is_back(connected: GuestHome, phases: Phases) -> None:
    home, run = connected, connected.world.guest.run
    await run("rm", DROP_IN)
    await run("systemctl", "daemon-reload")  # which is for the next start
    before = await home.show("ActiveState", "MainPID", "NRestarts", "WatchdogUSec")
    assert (before["ActiveState"], before["WatchdogUSec"]) == ("active", "5s")
    _, session_ctr = await home.boot_and_session()
    with phases("hung (SIGSTOP), until the watchdog has killed it and the link is back"):
        await run("kill", "-STOP", before["MainPID"])
        await home.wait_new_session(session_ctr)
    after = await home.show("ActiveState", "MainPID", "NRestarts", "WatchdogUSec")
    assert (after["ActiveState"], after["WatchdogUSec"]) == ("active", "30s")
    assert after["MainPID"] != before["MainPID"]
    assert int(after["NRestarts"]) == int(before["NRestarts"]) + 1


@pytest.mark.parametrize("att_mtu", [23, 247], ids=["mtu-23", "mtu-247"])
async def test_100_commands_move_the_bolt_once_each_and_nothing_is_lost(
    connected: GuestHome, phases: Phases, att_mtu: int
) -> None:
    home = connected
    _, session_ctr = await home.boot_and_session()
    home.world.lock_options = (f"--att-mtu={att_mtu}",)
    await home.world.lock.kill()
    await home.world.start_lock()
    await home.wait_new_session(session_ctr)
    seq_before = (await home.world.truth())["log"]["last_seq"]
    async with home.alarm_centre() as centre:
        operator = GuestOperator(home, centre, name=f"operator-{att_mtu}")
        with phases(f"{COMMAND_COUNT} commands over MQTT at an ATT MTU of {att_mtu}"):
            for _ in range(COMMAND_COUNT):
                errand = await operator.unlock()
                home.errands.append(errand)
                assert errand.final is Code.DONE
                await home.world.hand("knob")
    truth = await home.world.truth()
    moved = {each["command_id"] for each in truth["movements"] if each["cause"] == "motor"}
    assert {errand.command_id.hex() for errand in home.errands} == moved
    assert len(moved) == sum(each["cause"] == "motor" for each in truth["movements"])
    assert truth["accepted_ms_max"] <= LOCK_CMD_ACCEPTED_MS_MAX
    # Each stroke and each turn of the knob was notified and read: two records and one at the least.
    assert truth["log"]["last_seq"] >= seq_before + 3 * COMMAND_COUNT
    with phases("every event at the central log, signed for"):
        await audit(home, home.errands)
    phases.note(f"{truth['accepted_ms_max']:8d} ms  the longest until CommandAccepted, on the lock's clock")


async def test_bluetoothd_is_killed_and_comes_back(connected: GuestHome, phases: Phases) -> None:
    home, run = connected, connected.world.guest.run
    boot, session_ctr = await home.boot_and_session()
    lost_count = len(home.said("bluez.lost"))
    with phases("bluetoothd killed, until the gateway knows"):
        await run("systemctl", "kill", "--signal=KILL", "bluetooth")
        await home.hears_again("bluez.lost", lost_count)
    with phases("bluetoothd started, until the link is back"):
        await run("systemctl", "start", "bluetooth")
        await home.wait_new_session(session_ctr)
    assert (await home.boot_and_session())[0] == boot


async def test_the_adapter_returns_under_another_index(connected: GuestHome, phases: Phases) -> None:
    home, guest = connected, connected.world.guest
    _, session_ctr = await home.boot_and_session()
    before, lost_count = home.world.adapter, len(home.said("bluez.lost"))
    with phases("adapter pulled, until the gateway knows"):
        await home.world.pull_adapter()
        await home.hears_again("bluez.lost", lost_count)
    placeholder = await guest.plug(None)
    try:
        with phases("adapter returned under another index, until the link is back"):
            after = await home.world.plug_adapter()
            await home.wait_new_session(session_ctr)
    finally:
        await guest.pull(placeholder)
    assert placeholder == before
    assert after != before


async def test_the_lock_loses_its_power_and_returns_under_another_address(connected: GuestHome, phases: Phases) -> None:
    home = connected
    boot, session_ctr = await home.boot_and_session()
    address = home.world.lock_address
    with phases("lock power-cycled, until the link is back"):
        await home.world.lock.kill()
        await home.world.start_lock()
        await home.wait_new_session(session_ctr)
    assert (await home.boot_and_session())[0] == boot + 1
    assert home.world.lock_address != address


async def test_a_reload_keeps_the_process_and_the_link(connected: GuestHome, phases: Phases) -> None:
    home = connected
    before = await home.show("MainPID", "NRestarts", "StatusText")
    session = await home.boot_and_session()
    assert before["StatusText"].startswith("1 lock")
    with phases("reload"):
        await home.world.guest.run("systemctl", "reload", "gatewayd")
    assert (await home.show("ActiveState", "SubState")) == {"ActiveState": "active", "SubState": "running"}
    assert await home.show("MainPID", "NRestarts", "StatusText") == before
    assert await home.boot_and_session() == session
    assert await home.is_connected()


async def test_hardening_is_in_force_where_blue_z_is_reached(connected: GuestHome) -> None:
    home, run = connected, connected.world.guest.run
    pid = (await home.show("MainPID"))["MainPID"]
    lines = (await run("cat", f"/proc/{pid}/status")).output.splitlines()
    status = {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
    assert {int(status[name], 16) for name in ("CapEff", "CapPrm", "CapBnd", "CapAmb")} == {0}
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    assert "0" not in status["Uid"].split()
    mounts = (await run("cat", f"/proc/{pid}/mountinfo")).output.splitlines()
    options = {line.split()[4]: line.split()[5].split(",") for line in mounts}
    assert "ro" in options["/"]
    assert "rw" in options["/var/lib/gatewayd"]
    assert await home.is_connected()


async def test_the_gateways_user_may_start_the_two_units_of_its_ladder_and_nothing_else(
    connected: GuestHome, phases: Phases
) -> None:
    if not POLKITD.exists():
        pytest.skip("polkitd (Debian package: polkitd) is missing")
    home, run = connected, connected.world.guest.run
    _, session_ctr = await home.boot_and_session()

    async def start(unit: str, verb: str = "StartUnit") -> Done:
        manager = ("org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager")
        command = ("busctl", "call", *manager, verb, "ss", unit, "replace")
        return await run(
            "setpriv", "--reuid=gatewayd", "--regid=gatewayd", "--clear-groups", *command, is_checked=False
        )

    assert (await start("gatewayd-reset-adapter@hci77.service")).code == 0
    with phases("bluetoothd restarted by the ladder's unit, until the link is back"):
        assert (await start("gatewayd-restart-bluetooth.service")).code == 0
        await home.wait_new_session(session_ctr)
    for unit, verb in (("bluetooth.service", "StartUnit"), ("gatewayd-restart-bluetooth.service", "StopUnit")):
        refused = await start(unit, verb)
        assert (refused.code, "enied" in refused.errors or "authori" in refused.errors) == (1, True), refused


async def test_the_service_stops_in_order_and_lets_go_of_the_lock(connected: GuestHome, phases: Phases) -> None:
    home = connected
    with phases("stopped in order"):
        await home.world.guest.run("systemctl", "stop", "gatewayd")
    assert await home.show("ActiveState", "Result", "ExecMainStatus") == {
        "ActiveState": "inactive",
        "Result": "success",
        "ExecMainStatus": "0",
    }

    async def is_free() -> bool:
        return not (await home.world.truth())["connected"]

    await home.wait(is_free, "a lock without a link")
