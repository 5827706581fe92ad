"""`gatewayd pair` and `gatewayd decommission`: a lock becomes this gateway's, gets new keys, or is let go."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json as json_text
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path  # noqa: TC003 - the command line's parser reads annotations
from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import Parameter

from firmware_protocol import cose
from firmware_protocol.errors import RemoteProtocolError
from firmware_protocol.noise import KeyPair
from firmware_protocol.orders import DecommissionOrder
from firmware_protocol.pairing import LABEL_PREFIX, LockLabel
from gatewayd.cli.ask import answer, ask
from gatewayd.cli.errand import run_errand
from gatewayd.cli.language import language_of
from gatewayd.cli.say import DEFAULT_CONFIG, tell
from gatewayd.cli.trial import Trial, TrialCode, TrialError
from gatewayd.config.files import READ_BY_OTHERS, FileProblem, read_file
from gatewayd.config.keys import KEY_FILE_SIZE_MAX, read_key
from gatewayd.control.client import ControlClient
from gatewayd.control.messages import ControlError
from gatewayd.plain_text import printable
from gatewayd.provisioning.installation import pair_lock, release_lock
from gatewayd.provisioning.papers import FILE_SIZE_MAX, ProvisioningError, read_papers

if TYPE_CHECKING:
    from gatewayd.cli.errand import Document, Errand
    from gatewayd.config.values import Config
    from gatewayd.control.messages import ErrandDocument
    from gatewayd.provisioning.installation import Outcome, Site
    from gatewayd.provisioning.papers import Papers

STDIN: Final = "-"
_NEW_KEYS: Final = (
    "new keys count from the daemon's next start: systemctl stop gatewayd, this command for every lock of this "
    "gateway, then systemctl start gatewayd"
)
_ADDRESS: Final = re.compile(r"(?:[0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}")
_YES: Final = frozenset({"YES", "Y", "JA", "J"})
_SHOWN_SIZE: Final = 40
"""So much of what somebody typed is said back, in characters."""
_COSE_TAGS: Final = (0xD2, 0xD8)


def pair(  # noqa: PLR0913 - each is a prompt too
    papers: Path,
    /,
    *,
    label: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    address: str | None = None,
    former_key: Path | None = None,
    test: Annotated[bool | None, Parameter(negative="--no-test")] = None,
    door_open: bool = False,
    config: Path = DEFAULT_CONFIG,
    json: bool = False,
) -> int:
    """Make a lock this gateway's: find it, check its label, hand over the signed order and the rest, and prove it.

    Needs no internet. A running daemon does it and serves every other door meanwhile; a stopped one stays stopped. A
    lock that is this gateway's already gets the newer order. New keys of the gateway (`--former-key`) count from its
    next start, so the daemon must be stopped for them. Interrupted anywhere, the same command goes on where it was.

    Args:
        papers: JSON as for `provision`, with the lock's pairing order and Door.
        label: Text of the QR code on the lock, CARELOCK:1:…; `-` reads it from stdin, where it stays out of the shell's
            history. Asked for when it is left out.
        address: Bluetooth address of the lock, where more than one waits.
        former_key: The gateway's link key before the one that the new order names.
        test: Try the bolt with the door open and the installer's phone, by the running daemon; asked for at a terminal
            when it is left out.
        door_open: The door stands open; asked for where the lock has no sensor that tells.
        config: The configuration file of the gateway.
        json: Print the result for machines.
    """

    def prepare() -> Errand:
        return pairing(papers, label=label, address=address, former_key=former_key)

    def after(loaded: Config, outcome: ErrandDocument) -> Document | None:
        return try_bolt(loaded, outcome.lock_id, door_open=door_open) if _wants_test(test) else None

    done = "paired. See that it opens: the same command with --test"
    return run_errand(prepare, config, done=done, tried="paired, and the bolt moved", as_json=json, after=after)


def decommission(
    order: Path, /, *, address: str | None = None, config: Path = DEFAULT_CONFIG, json: bool = False
) -> int:
    """Let a lock go: take its log over, hand it the signed order, and forget it.

    A running daemon does it and serves every other door meanwhile; a stopped one delivers the log when it runs again.
    Interrupted anywhere, the same command goes on.

    Args:
        order: The signed DecommissionOrder, as bytes or in base64url.
        address: Bluetooth address of the lock, where it is known.
        config: The configuration file of the gateway.
        json: Print the result for machines.
    """
    return run_errand(
        lambda: release(order, address=address), config, done="let go; it waits for its next home", as_json=json
    )


def pairing(
    papers: Path, *, label: str | None = None, address: str | None = None, former_key: Path | None = None
) -> Errand:
    """Return what `pair` with these arguments is to do; raises `GatewayError` for what is wrong with them."""
    content = content_of(papers, size_max=FILE_SIZE_MAX)
    return _Pairing(
        papers=papers_in(papers, content),
        document=json_text.loads(content),
        label=_label(label),
        address=_address(address),
        former_keys=None if former_key is None else KeyPair.from_private(key_in(former_key)),
    )


def release(order: Path, *, address: str | None = None) -> Errand:
    """Return what `decommission` with these arguments is to do; raises `GatewayError` for what is wrong with them."""
    return _Release(address=_address(address), raw=_read_order(order))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pairing:
    """A lock becomes ours (an `errand.Errand`)."""

    papers: Papers
    document: dict[str, Any]
    """The same as JSON has it."""
    label: LockLabel
    address: str | None
    former_keys: KeyPair | None

    @property
    def needs_stop(self) -> str | None:
        return None if self.former_keys is None else _NEW_KEYS

    async def at(self, site: Site) -> Outcome:
        return await pair_lock(site, self.papers, self.label, address=self.address, former_keys=self.former_keys)

    def ask(self, client: ControlClient) -> ErrandDocument:
        return client.pair(self.document, self.label.to_text(), self.address, tell)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Release:
    """A lock is let go (an `errand.Errand`)."""

    raw: bytes
    address: str | None
    needs_stop: str | None = None

    async def at(self, site: Site) -> Outcome:
        return await release_lock(site, self.raw, address=self.address)

    def ask(self, client: ControlClient) -> ErrandDocument:
        return client.decommission(self.raw, self.address, tell)


def papers_in(path: Path, content: bytes | None = None) -> Papers:
    """Return the papers in a file, whose content may have been read already.

    Raises:
        ProvisioningError: there are none.
    """
    found = content_of(path, size_max=FILE_SIZE_MAX) if content is None else content
    try:
        return read_papers(found)
    except ProvisioningError as error:
        raise ProvisioningError([f"{path}: {problem}" for problem in error.problems]) from None


def _read_order(path: Path) -> bytes:
    content = content_of(path, size_max=FILE_SIZE_MAX)
    bare = content.strip().rstrip(b"=")
    try:
        is_raw = content[:1] and content[0] in _COSE_TAGS
        raw = content if is_raw else base64.b64decode(bare + b"=" * (-len(bare) % 4), altchars=b"-_", validate=True)
        # Who signed it is asked where the keys are; what is no signed object at all is the file's fault, and named so.
        cose.parse(raw, size_max=DecommissionOrder.SIZE_MAX)
    except (binascii.Error, ValueError):
        raise ProvisioningError([f"{path}: is no signed order: neither its bytes nor base64url of them"]) from None
    except RemoteProtocolError as error:
        raise ProvisioningError([f"{path}: is no signed order, or not the whole of one: {error.detail}"]) from None
    return raw


def key_in(path: Path, *, secret: bool = True) -> bytes:
    """Return the 32 bytes of a key in a file, which nobody else may read if it is `secret`.

    Raises:
        ProvisioningError: there is none.
    """
    try:
        return read_key(content_of(path, size_max=KEY_FILE_SIZE_MAX, forbidden_mode=READ_BY_OTHERS if secret else 0))
    except ValueError as error:
        raise ProvisioningError([f"{path}: {error}"]) from None


def content_of(path: Path, *, size_max: int, forbidden_mode: int = 0) -> bytes:
    """Return what a file holds.

    Raises:
        ProvisioningError: it cannot be used.
    """
    try:
        return read_file(path, size_max=size_max, forbidden_mode=forbidden_mode)
    except FileProblem as problem:
        raise ProvisioningError([printable(f"{path}: {problem}")]) from None


def try_bolt(config: Config, lock_id: str, *, door_open: bool) -> Document:
    """Look on while the installer tries the bolt.

    Raises:
        GatewayError: it was not seen to move, or no daemon runs.
    """
    try:
        client = ControlClient(config.control_path)
    except ControlError:
        raise TrialError(
            TrialCode.NO_DAEMON,
            "the lock is paired; the daemon serves the test: systemctl start gatewayd, then the same command again",
        ) from None
    with client:
        trial = Trial(client, lock_id, tell=tell, is_open=lambda: _is_open(door_open), language=language_of(os.environ))
        return asyncio.run(trial.run()).to_json()


def _is_open(given: bool) -> bool:  # noqa: FBT001 - the flag itself
    return given or ask("Does the door stand open? Type YES:", flag="--door-open").upper() in _YES


def _wants_test(given: bool | None) -> bool:  # noqa: FBT001 - the flag itself
    if given is not None or sys.stdin is None or not sys.stdin.isatty():
        return bool(given)
    return ask("Try the bolt now, with the door open and your phone? Type YES:", flag="--test").upper() in _YES


def _address(text: str | None) -> str | None:
    if text is not None and not _ADDRESS.fullmatch(text):
        raise ProvisioningError(
            [printable(f"--address {text[:_SHOWN_SIZE]!r} is no Bluetooth address: six pairs of hex digits, F0:…:01")]
        )
    return text


def _label(text: str | None) -> LockLabel:
    if text is None:
        text = ask("Scan the QR code on the lock, or type its text, and press Enter:", flag="--label")
    elif text == STDIN:
        text = answer(flag="--label with its text")
    try:
        return LockLabel.from_text("".join(text.split()).upper())
    except RemoteProtocolError as error:
        raise ProvisioningError(
            [f"this is not the text of a lock's label, {LABEL_PREFIX}…: {error.detail}; scan it again"]
        ) from None
