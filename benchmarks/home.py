"""A home to start a daemon in: configuration, keys and a provisioned store with one lock, in one folder."""

from __future__ import annotations

import base64
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.rows import BenchError
from simulator.office import Office

if TYPE_CHECKING:
    from simulator.office import Home

ROOT: Final = Path(__file__).resolve().parents[1]
SEED: Final = b"benchmarks"
PROVIDER: Final = "north-care"
CONFIG: Final = """\
[gateway]
state_directory = "state"
runtime_directory = "run"

[mqtt]
host = "127.0.0.1"
port = {port}
tls = false

[log]
level = "warning"
"""


def unused_port() -> int:
    """A loopback port at which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def gatewayd(*arguments: str | Path) -> list[str]:
    """Return a command line for the daemon of this tree."""
    return [sys.executable, "-m", "gatewayd", *map(str, arguments)]


def write_home(folder: Path) -> Path:
    """Fill `folder` as an installer would, and return it.

    Raises:
        BenchError: the gateway refused what was given to it.
    """
    office = Office(SEED)
    home = office.home("bench")
    (folder / "config.toml").write_text(CONFIG.format(port=unused_port()))
    write_keys(folder, office, home)
    papers = folder / "papers.json"
    papers.write_text(json.dumps(make_papers(office, home)))
    command = gatewayd("provision", papers, "--config", folder / "config.toml")
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    if done.returncode != 0:
        raise BenchError(f"provisioning ended with status {done.returncode}: {done.stderr.strip()}")
    return folder


def write_keys(folder: Path, office: Office, home: Home) -> None:
    """The gateway's own keys and the pinned roots, in files of the modes that it insists on."""
    for name in ("credentials", "state", "run"):
        (folder / name).mkdir(mode=0o700)
    for name, secret in {
        "gateway-identity.key": bytes(home.gateway_signing_key),
        "gateway-link.key": home.gateway_link_keys.private,
    }.items():
        with os.fdopen(os.open(folder / "credentials" / name, os.O_CREAT | os.O_WRONLY, 0o600), "w") as file:
            file.write(secret.hex())
    (folder / "trust.d").mkdir()
    (folder / "trust.d" / "roots.pub").write_text("".join(f"{key.hex()}\n" for key in office.root_public_keys))


def make_papers(office: Office, home: Home) -> dict[str, object]:
    """What the administrator signs for one gateway with one lock, as a provisioning file has it."""

    def text(raw: bytes) -> str:
        return base64.urlsafe_b64encode(raw).decode()

    now_s = int(time.time())
    return {
        "keyset": text(office.keyset(now_s=now_s)),
        "authorities": [text(office.authority(home, PROVIDER, now_s=now_s))],
        "state": text(office.state(home, now_s=now_s)),
        "doors": [text(office.door(home))],
        "pairing_orders": [text(office.pairing_order(home, now_s=now_s))],
    }
