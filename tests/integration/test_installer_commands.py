"""The installer's commands as an installer gives them: real processes, Bumble through bleak, and two units' folders."""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from asyncio.subprocess import DEVNULL, PIPE
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import pytest
from nacl.public import PrivateKey

from gatewayd import exits
from simulator.demo_home import HomeFiles, write_home
from simulator.demo_processes import Child
from simulator.mqtt_client import MqttVersion
from tests.support.errands import Carer
from tests.support.gateway_folder import text_of
from tests.support.real_home import RealHome

if TYPE_CHECKING:
    from pathlib import Path

    from simulator.office import Home

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
RECOVERY: Final = PrivateKey(bytes([4]) * 32)


class Unit:
    """One gateway's folder, and the commands given on it."""

    def __init__(self, home: RealHome, config: Path) -> None:
        self._home = home
        self.config = config

    async def run(self, *arguments: str) -> tuple[int, str, str]:
        """Run `gatewayd …`; return the exit code and what stands on stdout and on stderr."""
        command = (sys.executable, "-m", "gatewayd", *arguments, "--config", str(self.config))
        process = await asyncio.create_subprocess_exec(*command, stdin=DEVNULL, stdout=PIPE, stderr=PIPE)
        output, told = await process.communicate()
        assert b"Traceback" not in told
        return process.returncode or 0, output.decode(), told.decode()

    def papers(self, home: Home, *, owner_epoch: int = 1) -> Path:
        """Write what the office gives for the lock of a home, whose gateway is this one."""
        office, now_s = self._home.people.office, self._home.people.now_s
        path = self.config.parent / f"papers-{home.lock_id.hex()}-{owner_epoch}.json"
        link = home.gateway_link_keys.public
        order = office.pairing_order(home, now_s=now_s, owner_epoch=owner_epoch, gateway_link_key=link)
        document = {
            "keyset": text_of(office.keyset(now_s=now_s)),
            "doors": [text_of(office.door(home, gateway_link_key=link))],
            "pairing_orders": [text_of(order)],
        }
        path.write_text(json.dumps(document))
        return path


def factory_lock(home: RealHome, keys_of: Home, name: str, hci: str) -> Child:
    """A lock from the factory, as a process of its own on another radio of this air."""
    folder = home.world.files.root / name
    folder.mkdir()
    home.people.office.lock_keys(keys_of).save(folder / "keys.json")
    files = ("--home", str(folder / "keys.json"), "--flash", str(folder / "flash"), "--control", str(folder / "ctl"))
    command = (sys.executable, "-m", "simulator", "lock", "--transport", hci, "--motor-ms", "100", *files)
    return Child(name, command, log_file=home.world.files.log(name))


async def test_a_second_lock_is_paired_and_let_go_while_the_daemon_serves_the_first(tmp_path: Path) -> None:
    async with RealHome(tmp_path) as home:
        await home.start_gateway()
        unit = Unit(home, home.world.files.config)
        other = home.people.office.home("second")
        second = replace(home.people.home, lock_log_key=other.lock_log_key, lock_link_keys=other.lock_link_keys)
        second = replace(second, label="second")
        lock = factory_lock(home, second, "second", home.world.phone_radios[0])
        await lock.start()
        try:
            await lock.ready()
            lost_count = len(home.said("link.lost"))
            label = home.people.office.lock_keys(second).label.to_text()
            code, output, told = await unit.run("pair", str(unit.papers(second)), "--label", label)
            assert code == exits.OK, told
            assert output.startswith(f"lock {second.lock_id.hex()}, owner epoch 1: paired")
            assert "the lock answers to this gateway" in told

            async def both_are_ready() -> bool:
                status = await home.world.status()
                return status is not None and [each["ready"] for each in status["locks"]] == [True, True]

            await home.wait(both_are_ready, "both doors")

            # New keys are for a stopped daemon, and it says so.
            code, _, told = await unit.run(
                *("pair", str(unit.papers(second)), "--label", label),
                *("--former-key", str(unit.config.parent / "credentials" / "gateway-link.key")),
            )
            assert (code, told.count("\n")) == (exits.FAILED, 1)
            assert "systemctl stop gatewayd, this command" in told

            order = home.people.office.decommission_order(second, now_s=home.people.now_s, owner_epoch=2)
            paper = unit.config.parent / "order"
            paper.write_bytes(base64.urlsafe_b64encode(order))
            code, output, told = await unit.run("decommission", str(paper), "--json")
            assert code == exits.OK, told
            ended = json.loads(output)
            assert ended == {"lock_id": second.lock_id.hex(), "owner_epoch": 2, "was_done": False}
            status = await home.world.status()
            assert status is not None
            assert [each["ready"] for each in status["locks"]] == [True]
            assert len(home.said("link.lost", lock=home.people.home.lock_id.hex())) == lost_count
        finally:
            await lock.stop()


async def test_the_bolt_is_tried_by_a_phone_while_the_door_stands_open(tmp_path: Path) -> None:
    async with RealHome(tmp_path) as home, home.alarm_centre():
        await home.start_gateway()
        await home.wait_clock()
        unit = Unit(home, home.world.files.config)
        label = home.people.office.lock_keys(home.people.home).label.to_text()
        papers = str(home.world.files.provision)
        command = (sys.executable, "-m", "gatewayd", "pair", papers, "--label", label, "--test", "--json")
        process = await asyncio.create_subprocess_exec(
            *command, "--config", str(unit.config), stdin=DEVNULL, stdout=PIPE, stderr=PIPE
        )
        assert process.stdout is not None
        assert process.stderr is not None
        told = []
        async for line in process.stderr:  # the installer does as he is told
            told.append(line.decode())
            match told[-1].partition(" ")[0]:
                case "Open":
                    await home.world.hand("knob")
                    assert await home.world.hand("door_open")
                case "Turn":
                    await home.world.hand("knob")
                case "Now":
                    await Carer(home).unlock()
                case _:
                    pass
        output = await process.stdout.read()
        assert await process.wait() == exits.OK, told
        assert [line.partition(" ")[0] for line in told[-3:]] == ["Open", "Turn", "Now"]
        ended = json.loads(output)
        assert ended["was_done"], "the lock had this order since the day it was provisioned"
        assert (ended["test"]["code"], ended["test"]["door"]) == ("outcome.done", "open")
        assert await home.motor_count() >= 1


async def test_a_dead_gateway_is_restored_on_a_spare_unit_and_its_old_card_is_refused(tmp_path: Path) -> None:
    async with RealHome(tmp_path) as home:
        people, radio = home.people, home.world.phone_radios[0]
        lock = factory_lock(home, people.home, "door", radio)
        await home.world.lock.stop()  # the lock that came with the home was never paired by anybody
        await lock.start()
        try:
            await lock.ready()
            old = Unit(home, home.world.files.config)
            home.world.files.provision.unlink()
            for path in (home.world.files.config.parent / "state").glob("*"):
                path.unlink()
            label = people.office.lock_keys(people.home).label.to_text()
            old_papers = old.papers(people.home)
            code, _, told = await old.run("pair", str(old_papers), "--label", label)
            assert code == exits.OK, told
            public, sealed = tmp_path / "recovery.pub", tmp_path / "backup.sealed"
            public.write_bytes(bytes(RECOVERY.public_key))
            assert (await old.run("backup", str(sealed), "--recovery-key", str(public)))[0] == exits.OK

            # The unit is dead. A spare one with a link key of its own, and the office's order for it.
            own = people.office.home("spare")
            files = HomeFiles(root=tmp_path / "spare")
            write_home(
                files,
                people.office,
                own,
                now_s=people.now_s,
                hci=home.world.phone_radios[1],
                broker_port=home.world.broker_port,
                mqtt=MqttVersion.V5,
            )
            spare = Unit(home, files.config)
            papers = spare.papers(replace(people.home, gateway_link_keys=own.gateway_link_keys), owner_epoch=2)
            private = tmp_path / "recovery.key"
            private.write_bytes(bytes(RECOVERY))
            private.chmod(0o600)
            recovery = ("--recovery-key", str(private))
            code, output, told = await spare.run("restore", str(sealed), *recovery, "--papers", str(papers))
            assert code == exits.OK, told
            former = output.strip().rpartition(" ")[2]
            code, output, told = await spare.run(
                *("pair", str(papers), "--label", label, "--former-key", former, "--json")
            )
            assert code == exits.OK, told
            assert json.loads(output)["owner_epoch"] == 2

            # Its old card comes back to life.
            code, _, told = await old.run("pair", str(old_papers), "--label", label)
            assert code == exits.FAILED
            assert "another unit has it by a newer order" in told
            code, _, told = await old.run("factory-reset", "--yes", "--abandon-locks", "--abandon-log")
            assert code == exits.OK, told
        finally:
            await lock.stop()
