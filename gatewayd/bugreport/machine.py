"""What a report says of the machine: versions, service, adapters, room. No address, no host name, nobody's account."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from gatewayd import __version__
from gatewayd.bugreport.contents import AbsentError
from gatewayd.store.database import sqlite_version

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

TOOL_FOLDERS: Final = "/usr/bin:/bin:/usr/sbin:/sbin"
"""Where tools are looked for. Attack: whoever can write where root's PATH leads has root run a tool of theirs."""
TOOL_S_MAX: Final = 10
LIBRARIES: Final = ("apsw", "bleak", "cbor2", "cyclopts", "dbus-fast", "paho-mqtt", "pydantic", "pynacl", "structlog")
ROOT_HINT: Final = "; as root it may see more"
UNIT: Final = "gatewayd"
UNIT_PROPERTIES: Final = ("ActiveState", "SubState", "Result", "ExecMainCode", "ExecMainStatus", "NRestarts")

_VERSION: Final = re.compile(r"\d+(?:\.\d+)+")
_PROPERTY: Final = re.compile("[A-Za-z]+=[A-Za-z0-9-]{0,64}")
_PLAIN: Final = re.compile(r"[A-Za-z0-9 ._+()/~-]{1,100}")


def run_tool(arguments: Sequence[str]) -> bytes:
    """Return what a tool of the system prints.

    Raises:
        AbsentError: it is not there, fails, or does not end.
    """
    name = arguments[0]
    path = shutil.which(name, path=TOOL_FOLDERS)
    if path is None:
        raise AbsentError(f"this machine has no {name}")
    environ = {"PATH": TOOL_FOLDERS, "LC_ALL": "C"}
    try:
        done = subprocess.run(  # noqa: S603 - found in the system's own folders
            [path, *arguments[1:]],
            check=False,
            capture_output=True,
            env=environ,
            stdin=subprocess.DEVNULL,
            timeout=TOOL_S_MAX,
        )
    except subprocess.TimeoutExpired:
        raise AbsentError(f"{name} does not end") from None
    except OSError as error:
        raise AbsentError(f"{name}: {error.strerror}") from None
    if done.returncode:
        raise AbsentError(f"{name} exits {done.returncode}{ROOT_HINT if os.geteuid() else ''}")
    return done.stdout


def versions() -> dict[str, Any]:
    """Return what is installed."""
    return {
        "gatewayd": __version__,
        "python": platform.python_version(),
        "sqlite": sqlite_version(),
        "kernel": _plain(platform.release()),
        "machine": _plain(platform.machine()),
        "system": _system(),
        "bluez": _bluez(),
        "libraries": {name: _library(name) for name in LIBRARIES},
    }


def service() -> str:
    """Return how systemd sees the service and BlueZ's.

    Raises:
        AbsentError: there is no systemd.
    """
    lines: list[str] = []
    for unit in (UNIT, "bluetooth"):
        shown = run_tool(["systemctl", "show", unit, "--property", ",".join(UNIT_PROPERTIES)]).decode(errors="replace")
        lines += [f"{unit}: {line}" for line in shown.splitlines() if _PROPERTY.fullmatch(line)]
    return "\n".join(lines)


def adapters() -> dict[str, Any]:
    """Return the Bluetooth adapters that the kernel has, and whether something switches them off."""
    return {
        "adapters": sorted(
            each.name for each in _listed(Path("/sys/class/bluetooth")) if re.fullmatch(r"hci\d+", each.name)
        ),
        "switches": [
            {"soft_blocked": _word(each / "soft"), "hard_blocked": _word(each / "hard")}
            for each in sorted(_listed(Path("/sys/class/rfkill")))
            if _word(each / "type") == "bluetooth"
        ],
    }


def room(state_folder: Path) -> dict[str, Any]:
    """Return how much memory and disk there is, and for how long the machine is up."""
    memory = dict(
        re.findall(r"^(MemTotal|MemAvailable|SwapFree):\s+(\d+) kB$", _read(Path("/proc/meminfo")), re.MULTILINE)
    )
    up = _read(Path("/proc/uptime")).split()
    return {
        "memory_kib": {name: int(size) for name, size in memory.items()},
        "up_s": int(float(up[0])) if up else None,
        "load": [round(each, 2) for each in os.getloadavg()],
        "state_disk": _disk(state_folder),
    }


def _disk(folder: Path) -> dict[str, Any]:
    try:
        status = os.statvfs(folder)
    except OSError as error:
        return {"fault": error.strerror}
    return {
        "free_kib": status.f_bavail * status.f_frsize // 1_024,
        "size_kib": status.f_blocks * status.f_frsize // 1_024,
        "free_inodes": status.f_favail,
        "mounted_read_only": bool(status.f_flag & os.ST_RDONLY),
    }


def _library(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _bluez() -> str:
    try:
        found = _VERSION.search(run_tool(["bluetoothctl", "--version"]).decode(errors="replace"))
    except AbsentError as error:
        return f"not known: {error}"
    return found[0] if found else "not known"


def _system() -> str:
    found = re.search('^PRETTY_NAME="?([^"\n]*)"?$', _read(Path("/etc/os-release")), re.MULTILINE)
    return _plain(found[1]) if found else "not known"


def _plain(text: str) -> str:
    return text if _PLAIN.fullmatch(text) else "not known"


def _listed(folder: Path) -> Iterator[Path]:
    try:
        yield from folder.iterdir()
    except OSError:
        return


def _word(path: Path) -> str:
    text = _read(path).strip()
    return text if re.fullmatch("[a-z0-9]{1,16}", text) else ""


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
