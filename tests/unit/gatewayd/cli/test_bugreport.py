"""`gatewayd bugreport`: what support needs, had from a gateway in any state, and nothing that is anybody's."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import sqlite3
import tarfile
from typing import TYPE_CHECKING, Final

import pytest

from firmware_protocol.cose import kid_of
from gatewayd import exits
from gatewayd.bugreport import machine
from gatewayd.bugreport.daemon_view import DaemonView
from gatewayd.cli.app import main
from gatewayd.control.server import ControlServer
from gatewayd.store.store import Store, StoreCode, StoreError
from tests.support.control_bench import STATUS, FixedStatus, NoLog
from tests.support.gateway_folder import CONFIG, GatewayFolder

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NAMES: Final = ("Svensson", "anna-s", "hemtjanst-nord", "karlavagen", "0701234567", "070-123 45 67", "Åsa", "4711")
SECRETS: Final = ("hunter2-very-secret", "q83vEjRWeJq83vEjRWeJqw==", "deadbeefdeadbeefdeadbeefdeadbeef")
CANARIES: Final = (*NAMES, *SECRETS)
PARTS: Final = {
    *("README.txt", "versions.json", "settings.txt", "service.txt", "machine.json", "radio.json"),
    *("status.json", "metrics.prom", "store.json", "files.json", "journal.jsonl"),
}


class Home:
    """A gateway's folder, and the tools of a machine with systemd that tell what is laid out for them."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.gateway = GatewayFolder(folder)
        self.taken = folder / "taken"
        self.taken.mkdir()
        self._tools = folder / "tools"
        self._tools.mkdir()
        monkeypatch.setattr(machine, "TOOL_FOLDERS", str(self._tools))
        monkeypatch.chdir(self.taken)
        self.tool("bluetoothctl", "bluetoothctl: 5.66\n")
        self.tool("systemctl", "ActiveState=failed\nResult=exit-code\nExecMainStatus=78\nNRestarts=0\nX=anna-s ?\n")
        self.gateway_id = self.gateway.home.gateway_id.hex()
        self.logged(
            {"event": "daemon.ready", "level": "info", "gateway": self.gateway_id, "peer": "01" * 8, "locks": 1}
        )

    def tool(self, name: str, printed: str) -> None:
        (self._tools / f"{name}.txt").write_text(printed)
        path = self._tools / name
        path.write_text(f'#!/bin/sh\nexec /bin/cat "{path}.txt"\n')
        path.chmod(0o755)

    def no_tool(self, name: str) -> None:
        (self._tools / name).unlink()

    def logged(self, *messages: dict[str, object] | str) -> None:
        said = [each if isinstance(each, str) else json.dumps(each) for each in messages]
        lines = [json.dumps({"__REALTIME_TIMESTAMP": "1800000000000000", "MESSAGE": each}) for each in said]
        self.tool("journalctl", "\n".join(lines))

    def provision(self) -> None:
        assert main(["provision", str(self.gateway.write_papers()), "--config", str(self.gateway.config)]) == exits.OK

    def run(self, *arguments: str) -> int:
        return main(["bugreport", "--config", str(self.gateway.config), *arguments])

    def files(self) -> list[Path]:
        return list(self.taken.iterdir())

    def unpacked(self) -> dict[str, str]:
        (path,) = self.files()
        return unpacked(path)


def unpacked(path: Path) -> dict[str, str]:
    with tarfile.open(path) as archive:
        assert all((row.uid, row.uname, row.isreg()) == (0, "", True) for row in archive)
        files = {row.name.rpartition("/")[2]: archive.extractfile(row) for row in archive}
        return {name: file.read().decode() for name, file in files.items() if file is not None}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    for name in [name for name in os.environ if name.startswith(("GATEWAYD_", "CREDENTIALS_DIRECTORY"))]:
        monkeypatch.delenv(name)
    return Home(tmp_path, monkeypatch)


def test_a_stopped_gateway_is_reported_with_its_id_in_the_file_and_its_name(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    home.provision()
    capsys.readouterr()
    assert home.run() == exits.OK
    first, *_, last = capsys.readouterr().out.splitlines()
    assert first.endswith(f" of gateway {home.gateway_id}")
    report_id = first.split()[2]
    (path,) = home.files()
    assert path.name == f"gatewayd-bugreport-{report_id}.tar.gz"
    assert last == f"written to {path.name}"
    assert path.stat().st_mode & 0o777 == 0o600
    parts = home.unpacked()
    assert parts.keys() == PARTS - {"status.json", "metrics.prom"}
    assert parts["README.txt"].startswith(first)
    assert "status.json    not had: the daemon does not answer: it is stopped, or hangs" in parts["README.txt"]
    store = json.loads(parts["store.json"])
    assert (store["faults"], store["checked"], store["rows"]["lock_homes"]) == (0, "the whole file", 1)
    assert store["locks"] == [home.gateway.home.lock_id.hex()]
    assert json.loads(parts["versions.json"])["bluez"] == "5.66"
    assert "gatewayd: ExecMainStatus=78" in parts["service.txt"].splitlines()
    assert "mqtt.keepalive_s = 10  # default" in parts["settings.txt"].splitlines()
    assert "gatewayd.sqlite" in json.loads(parts["files.json"])
    assert json.loads(parts["journal.jsonl"]) == {
        "time": "2027-01-15T08:00:00Z", "event": "daemon.ready", "level": "info",
        "gateway": home.gateway_id, "peer": "…", "locks": 1
    }  # fmt: skip


def test_a_list_says_what_would_be_in_it_and_writes_nothing(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    assert home.run("--list") == exits.OK
    told = capsys.readouterr().out
    assert told.splitlines()[0] == f"a bug report of gateway {home.gateway_id} would hold:"
    assert "store.json     not had: store.absent" in told
    assert home.run("--list", "--json") == exits.OK
    rows = json.loads(capsys.readouterr().out)["parts"]
    assert {row["name"] for row in rows} == PARTS - {"README.txt"}
    assert all((row["size"] == 0) == (row["absent"] is not None) for row in rows)
    assert home.files() == []


def test_machines_are_told_id_file_and_sizes(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    path = home.taken / "mine.tar.gz"
    assert home.run("--json", "--output", str(path)) == exits.OK
    told = json.loads(capsys.readouterr().out)
    assert (told["file"], told["size"]) == (str(path), path.stat().st_size)
    assert told["id"] in unpacked(path)["README.txt"]


async def test_a_running_daemon_is_asked_and_writes_the_id_down(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    await asyncio.to_thread(home.provision)
    capsys.readouterr()
    store = Store.open(home.gateway.store)
    view = DaemonView(status=FixedStatus(), dropped=lambda: {"flood": 3}, store=store)
    socket = home.gateway.folder / "run" / "control.sock"
    server = ControlServer(socket, status=FixedStatus(), journal=NoLog(), reports=lambda: view)
    await server.open()
    assert await asyncio.to_thread(home.run, "--list") == exits.OK
    assert "bugreport.made" not in capsys.readouterr().out
    assert await asyncio.to_thread(home.run) == exits.OK
    await server.close()
    await store.close()
    parts = home.unpacked()
    assert parts.keys() == PARTS
    report_id = parts["README.txt"].split()[2]
    logged = capsys.readouterr().out
    assert "bugreport.made" in logged
    assert report_id in logged
    assert json.loads(parts["status.json"]) == json.loads(json.dumps(STATUS.to_json()))
    assert 'carelock_broker_dropped_messages_total{reason="flood"} 3' in parts["metrics.prom"]
    assert json.loads(parts["store.json"])["checked"] == "the small tables"


async def test_a_daemon_whose_store_fails_still_tells_the_rest(home: Home) -> None:
    class Failing:
        async def run(self, _work: object) -> None:
            raise StoreError(StoreCode.IO, "the disk failed")

    view = DaemonView(status=FixedStatus(), dropped=dict, store=Failing())  # type: ignore[arg-type]
    document = await view.report(None)
    assert document.absent == {"store.json": "store.io"}
    assert document.parts.keys() == {"status.json", "metrics.prom"}


async def test_attack_an_id_that_would_forge_a_line_of_the_log_is_refused(home: Home) -> None:
    view = DaemonView(status=FixedStatus(), dropped=dict, store=None)  # type: ignore[arg-type]
    socket = home.gateway.folder / "run" / "control.sock"
    server = ControlServer(socket, status=FixedStatus(), journal=NoLog(), reports=lambda: view)
    await server.open()
    reader, writer = await asyncio.open_unix_connection(socket)
    writer.write(b'{"version":1,"ask":"bugreport","id":"AAAA-AAA\\n"}\n')
    assert json.loads(await reader.readline())["error"]["code"] == "control.malformed"
    writer.close()
    await server.close()


def spoiled(home: Home) -> None:
    """Put names and secrets wherever people write."""
    home.provision()
    with sqlite3.connect(home.gateway.store) as store:
        for canary in CANARIES:
            store.execute("INSERT INTO buckets (name, arrival_ms) VALUES (?, 1)", (canary,))
    store.close()
    (home.gateway.store.parent / "gatewayd.sqlite.of-Svensson").write_bytes(b"")
    home.gateway.secret("mqtt.password", SECRETS[0].encode())
    home.gateway.config.write_text(
        CONFIG.replace('"127.0.0.1"', f'"localhost"\nusername = "{NAMES[1]}"\nclient_id = "{NAMES[2]}"\nport = 4713')
        + f'[radio.options]\n"{NAMES[0]}" = "{SECRETS[1]}"\n'
        + f'[home_assistant]\ndiscovery_prefix = "{NAMES[2]}"\n'
        + f'[metrics]\nfile = "/home/{NAMES[0]}/x.prom"\n'
    )
    lock_id = home.gateway.home.lock_id.hex()
    home.gateway.drop_in("50-Svensson.toml", f'[locks."{NAMES[3]}"]\nlock_id = "{lock_id}"\n')
    free = " ".join(CANARIES)
    home.logged(
        {"event": "command.denied", "level": "warning", "detail": f"by {free}", "reason": free, "kid": "ab" * 8},
        {"event": free, "timestamp": f"2027-01-15T08:00:00Z {free}", free: 1, "message": {"detail": [free]}},
        {
            "event": "x",
            "subject": "care",
            "name": "care",
            "pin": 471,
            "detail": 4711,
            "password": "care",
            "psk": "lock",
        },
        {"event": "daemon.crashed", "exception": [{"exc_value": free, "frames": [{"filename": f"/home/{free}"}]}]},
        f"{free}: plain text",
        "gatewayd.service: Main process exited, code=exited, status=78/CONFIG",
    )


def keys_of(gateway: GatewayFolder) -> list[str]:
    office, home = gateway.office, gateway.home
    private = [bytes(home.gateway_signing_key), home.gateway_link_keys.private]
    public = [*office.root_public_keys]
    kids = [kid_of(key) for key in public]
    return [each.hex() for each in (*private, *public, *kids)]


def test_canary_no_name_no_secret_and_no_key_is_in_it_wherever_it_stood(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    spoiled(home)
    capsys.readouterr()
    assert home.run() == exits.OK
    everything = "\n".join(home.unpacked().values()) + capsys.readouterr().out
    told = [each for each in (*CANARIES, *keys_of(home.gateway), "north-care") if each in everything]
    assert told == []
    assert "care" not in [each for line in home.unpacked()["journal.jsonl"].splitlines() for each in line.split('"')]


def test_what_is_ours_stays_so_that_support_sees_what_happened(home: Home) -> None:
    spoiled(home)
    assert home.run() == exits.OK
    parts = home.unpacked()
    lines = [json.loads(line) for line in parts["journal.jsonl"].splitlines()]
    assert lines[0]["event"] == "command.denied"
    assert set(lines[0]["detail"].split()) == {"by", "…", "…=="}
    assert lines[-1]["text"] == "gatewayd.service: Main process exited, code=exited, status=78/CONFIG"
    settings = parts["settings.txt"].splitlines()
    assert "mqtt.port = 4713  # config.toml:9" in settings
    assert "mqtt.username = (set)  # config.toml:7" in settings
    assert "mqtt.password = (set)  # mqtt.password" in settings
    assert f'locks.1.lock_id = "{home.gateway.home.lock_id.hex()}"  # ….toml:2' in settings


BROKEN: Final[dict[str, tuple[str, str]]] = {
    "no TOML": (f'[mqtt]\nhost = "{SECRETS[0]}\n', "config.toml:2: is not TOML: "),
    "a wrong value": (f'[mqtt]\nhost = "localhost"\nport = "{SECRETS[0]}"\n', 'mqtt.port: "…" is not a whole number'),
    "an unknown key": (f'[mqtt]\nhost = "h"\nusername = "u"\n{NAMES[2]} = "x"\n', "mqtt.…: unknown key"),
    "nothing": ("", "mqtt: is missing"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_gateway_that_cannot_start_is_reported_with_what_is_wrong(home: Home, case: str) -> None:
    text, wrong = BROKEN[case]
    home.gateway.config.write_text(text)
    assert home.run() == exits.OK
    settings = home.unpacked()["settings.txt"]
    assert settings.startswith("the configuration cannot work:")
    assert wrong in settings
    assert [each for each in CANARIES if each in settings] == []


def test_a_configuration_that_is_not_there_is_reported_too(home: Home) -> None:
    home.gateway.config.unlink()
    assert home.run() == exits.OK
    assert "config.toml: does not exist" in home.unpacked()["settings.txt"]


def spoil_with_nothing(path: Path) -> None:
    path.write_bytes(b"")


def spoil_with_another_file(path: Path) -> None:
    path.write_text("Svensson " * 1_000)


@pytest.mark.parametrize("spoil", [spoil_with_nothing, spoil_with_another_file])
def test_a_store_that_is_damaged_is_a_line_that_says_so(home: Home, spoil: Callable[[Path], None]) -> None:
    spoil(home.gateway.store)
    assert home.run() == exits.OK
    parts = home.unpacked()
    assert "store.json     not had: store.damaged" in parts["README.txt"]
    assert "Svensson" not in "".join(parts.values())


def test_a_machine_without_systemd_is_reported_without_its_journal(home: Home) -> None:
    for name in ("journalctl", "systemctl", "bluetoothctl"):
        home.no_tool(name)
    assert home.run() == exits.OK
    parts = home.unpacked()
    assert "journal.jsonl  not had: this machine has no journalctl" in parts["README.txt"]
    assert "service.txt    not had: this machine has no systemctl" in parts["README.txt"]
    assert json.loads(parts["versions.json"])["bluez"] == "not known: this machine has no bluetoothctl"


def test_it_is_bounded_whatever_the_journal_holds(home: Home) -> None:
    home.logged(*[json.dumps({"event": "uplink.connected", "detail": "the disk failed " * 400})] * 3_000)
    assert home.run() == exits.OK
    (path,) = home.files()
    lines = home.unpacked()["journal.jsonl"].splitlines()
    assert len(lines) <= 1_000
    assert max(map(len, lines)) < 1_000
    assert path.stat().st_size < 200_000


def test_an_existing_file_and_a_laid_link_are_left_alone(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    there, link, target = home.taken / "there", home.taken / "link", home.taken / "target"
    there.write_bytes(b"mine")
    link.symlink_to(target)
    for path in (there, link):
        assert home.run("--output", str(path)) == exits.FAILED
        assert capsys.readouterr().err == f"gatewayd: {path}: is there already and stays as it is; name a new file\n"
    assert there.read_bytes() == b"mine"
    assert not target.exists()


def test_a_full_disk_leaves_no_half_a_report(
    home: Home, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    assert home.run() == exits.FAILED
    assert capsys.readouterr().err.endswith("No space left on device\n")
    assert home.files() == []
