"""The configuration of mosquitto that docs/operations.md tells people to use, as a broker on loopback."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.support.mosquitto import Mosquitto

if TYPE_CHECKING:
    from tests.support.small_ca import SmallCa

DOCUMENT: Final = Path(__file__).parents[2] / "docs" / "operations.md"

DEBIANS_OWN: Final = "{persistence}\npersistence_location {folder}/\n"
"""What stands in /etc/mosquitto/mosquitto.conf, which reads conf.d; what may stand there once only is refused twice."""


def documented_file(path: str) -> str:
    """Return the block that begins with `# PATH`."""
    blocks = re.findall(r"^```[a-z]*\n(.*?)^```$", DOCUMENT.read_text(), re.DOTALL | re.MULTILINE)
    (found,) = (block for block in blocks if block.startswith(f"# {path}\n"))
    return str(found)


def documented_mosquitto(folder: Path, ca: SmallCa, *, persistence: bool = False) -> Mosquitto:
    """Return the documented broker; only paths and the listener differ."""
    certificate, key = ca.issue("broker")
    access = folder / "acl"
    access.write_text(documented_file("/etc/mosquitto/carelock/acl"))
    replacements = {
        "listener 8883\n": "",
        "/etc/mosquitto/carelock/ca.pem": str(ca.file),
        "/etc/mosquitto/carelock/broker.pem": str(certificate),
        "/etc/mosquitto/carelock/broker.key": str(key),
        "/etc/mosquitto/carelock/acl": str(access),
        "persistence true": f"persistence {'true' if persistence else 'false'}",
    }
    text = documented_file("/etc/mosquitto/conf.d/carelock.conf")
    for written, here in replacements.items():
        assert written in text, f"docs/operations.md no longer says {written!r}"
        text = text.replace(written, here)
    return Mosquitto(folder, DEBIANS_OWN.format(persistence=replacements["persistence true"], folder=folder) + text)
