"""A gateway's folder as an installer leaves it: configuration, keys, pinned roots, and the papers of one lock."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any, Final

from simulator.office import Office

if TYPE_CHECKING:
    from pathlib import Path

    from gatewayd.provisioning.papers import Papers
    from simulator.office import Home

NOW_S: Final = 1_800_000_000
"""A second in 2027, after any build time."""
PROVIDER: Final = "north-care"
CONFIG: Final = """\
[gateway]
state_directory = "state"
runtime_directory = "run"

[mqtt]
host = "127.0.0.1"
tls = false
"""


def text_of(raw: bytes) -> str:
    """Base64url without padding, as in a provisioning file."""
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def document_of(papers: Papers) -> dict[str, Any]:
    """Return papers as a file has them."""
    assert papers.keyset is not None
    assert papers.state is not None
    return {
        "keyset": text_of(papers.keyset),
        "state": text_of(papers.state),
        "authorities": [text_of(raw) for raw in papers.authorities],
        "doors": [text_of(raw) for raw in papers.doors],
        "pairing_orders": [text_of(raw) for raw in papers.pairing_orders],
    }


class GatewayFolder:
    """Files below one folder; everything in them comes from one seed, or from an office and a home that are given."""

    def __init__(self, folder: Path, *, office: Office | None = None, home: Home | None = None) -> None:
        self.folder = folder
        self.office = office or Office(b"folder")
        self.home: Home = home or self.office.home("ada")
        self.config = folder / "config.toml"
        self.credentials = folder / "credentials"
        self.roots = folder / "trust.d" / "roots.pub"
        for name in ("credentials", "trust.d", "conf.d", "state"):
            (folder / name).mkdir()
        self.config.write_text(CONFIG)
        self.secret("gateway-identity.key", bytes(self.home.gateway_signing_key))
        self.secret("gateway-link.key", self.home.gateway_link_keys.private)
        self.roots.write_text("".join(f"{key.hex()}\n" for key in self.office.root_public_keys))

    @property
    def store(self) -> Path:
        """Where the store is once it has been provisioned."""
        return self.folder / "state" / "gatewayd.sqlite"

    def secret(self, name: str, content: bytes, mode: int = 0o600) -> Path:
        """Write a file of the credentials folder."""
        path = self.credentials / name
        path.write_bytes(content)
        path.chmod(mode)
        return path

    def drop_in(self, name: str, content: str) -> Path:
        """Write a file of conf.d."""
        path = self.folder / "conf.d" / name
        path.write_text(content)
        return path

    def papers(self, **other: object) -> dict[str, Any]:
        """What a provisioning file holds; `other` takes the place of a key, None leaves it out."""
        papers: dict[str, Any] = {
            "keyset": text_of(self.office.keyset(now_s=NOW_S)),
            "authorities": [text_of(self.office.authority(self.home, PROVIDER, now_s=NOW_S))],
            "state": text_of(self.office.state(self.home, now_s=NOW_S)),
            "doors": [text_of(self.office.door(self.home))],
            "pairing_orders": [text_of(self.office.pairing_order(self.home, now_s=NOW_S))],
        } | other
        return {key: value for key, value in papers.items() if value is not None}

    def write_papers(self, **other: object) -> Path:
        """Write them and return the file."""
        path = self.folder / "papers.json"
        path.write_text(json.dumps(self.papers(**other)))
        return path
