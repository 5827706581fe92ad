"""The central log as a process: `python -m simulator central --port … --credentials FILE --store FILE`."""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import json
import os
import signal
import ssl
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from nacl.public import PrivateKey
from nacl.signing import SigningKey

from firmware_protocol.chains import open_by_role, verify_keyset
from firmware_protocol.orders import DecommissionOrder
from firmware_protocol.topics import ROOT, Topics
from firmware_protocol.vocabulary import Role
from simulator.central_log import CentralLog, Directory, Now
from simulator.central_store import CentralStore
from simulator.mqtt_client import MqttClient, MqttError, MqttVersion
from simulator.phone import verify_door

if TYPE_CHECKING:
    from collections.abc import Sequence

    from simulator.mqtt_client import Mail, Postman

RECONNECT_MS: Final = 250
SILENCE_CHECK_S: Final = 60
ENTRIES_FILTER: Final = f"{ROOT}/+/log/entries"
CHECKPOINTS_FILTER: Final = f"{ROOT}/+/log/checkpoint"
_MODE: Final = 0o600


@dataclass(frozen=True, slots=True, kw_only=True)
class CentralCredentials:
    """What the central log is given: its receipt key, and signed objects that say whose journals it takes."""

    receipt_key: SigningKey = field(repr=False)
    roots: tuple[bytes, ...]
    keyset: bytes
    doors: tuple[bytes, ...]
    decommissions: tuple[bytes, ...] = ()
    unsealing_key: PrivateKey | None = field(default=None, repr=False)
    """X25519: opens what gateways seal to this log."""

    def save(self, path: Path) -> None:
        """Write the file, readable by its owner only."""
        document = {
            "receipt_key": bytes(self.receipt_key).hex(),
            "roots": [root.hex() for root in self.roots],
            "keyset": base64.b64encode(self.keyset).decode(),
            "doors": [base64.b64encode(door).decode() for door in self.doors],
            "unsealing_key": None if self.unsealing_key is None else bytes(self.unsealing_key).hex(),
            "decommissions": [base64.b64encode(order).decode() for order in self.decommissions],
        }
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _MODE), "w") as file:
            json.dump(document, file)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read the file.

        Raises:
            OSError: it cannot be read.
            KeyError: it is another file.
            ValueError: it is another file.
        """
        document = json.loads(path.read_text())
        unsealing = document["unsealing_key"]
        return cls(
            receipt_key=SigningKey(bytes.fromhex(document["receipt_key"])),
            roots=tuple(bytes.fromhex(root) for root in document["roots"]),
            keyset=base64.b64decode(document["keyset"]),
            doors=tuple(base64.b64decode(door) for door in document["doors"]),
            decommissions=tuple(base64.b64decode(order) for order in document["decommissions"]),
            unsealing_key=None if unsealing is None else PrivateKey(bytes.fromhex(unsealing)),
        )

    def directory(self) -> Directory:
        """Return whose signatures count.

        Raises:
            RemoteProtocolError: the roots or the status role did not sign it.
        """
        keyset = verify_keyset(self.keyset, roots=self.roots)
        doors = [verify_door(door, keyset=keyset) for door in self.doors]
        orders = [
            open_by_role(DecommissionOrder, order, keyset=keyset, role=Role.PAIRING) for order in self.decommissions
        ]
        receipt = keyset.roles.get(Role.RECEIPT)
        return Directory(
            gateway_keys={door.gateway_id: door.gateway_identity_key for door in doors},
            lock_log_keys={door.lock_id: door.lock_log_key for door in doors},
            decommissions=frozenset((order.lock_id, order.owner_epoch) for order in orders),
            receipt_keys=() if receipt is None else receipt.keys,
        )


class CentralPost:
    """Carries mail between a broker and the central log."""

    def __init__(self, log: CentralLog) -> None:
        self._log = log

    async def greet(self, client: Postman) -> None:
        """Say how far each journal is held: a gateway need not wait for its patience to end.

        Raises:
            MqttError: the broker is gone.
        """
        for gateway_id, conflict in self._log.greetings():
            await client.publish(Topics.of(gateway_id).log_receipt, conflict)

    async def deliver(self, client: Postman, mail: Mail) -> None:
        """Hand one message over, and publish the answer.

        Raises:
            MqttError: the broker is gone.
        """
        gateway_id = _gateway_of(mail.topic)
        if gateway_id is None:
            return
        topics = Topics.of(gateway_id)
        take = {topics.log_entries: self._log.take_entry, topics.log_checkpoint: self._log.take_checkpoint}.get(
            mail.topic
        )
        if take is None:
            return  # never asked for: a broker's mistake must not look like a gateway's
        answer = take(gateway_id, mail.payload, read_clocks())
        if answer is not None:
            await client.publish(topics.log_receipt, answer)


def read_clocks() -> Now:
    """Return what the central log's clocks say."""
    return Now(utc_s=int(time.time()), monotonic_ms=time.monotonic_ns() // 1_000_000)


def _gateway_of(topic: str) -> bytes | None:
    try:
        return bytes.fromhex(topic.removeprefix(f"{ROOT}/").partition("/")[0])
    except ValueError:
        return None


async def _serve(post: CentralPost, client: MqttClient) -> None:
    """Serve over one session.

    Raises:
        MqttError: it has ended.
    """
    async with client:
        await client.subscribe((ENTRIES_FILTER, CHECKPOINTS_FILTER))
        await post.greet(client)
        sys.stdout.write(json.dumps({"ready": True}) + "\n")
        sys.stdout.flush()
        while True:
            await post.deliver(client, await client.next_mail())


async def _run(arguments: argparse.Namespace) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signal_number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signal_number, stopped.set)
    credentials = CentralCredentials.load(arguments.credentials)
    with CentralStore(arguments.store) as store:
        log = CentralLog(
            store=store,
            directory=credentials.directory(),
            receipt_key=credentials.receipt_key,
            unsealing_key=credentials.unsealing_key,
        )
        working = {
            asyncio.create_task(_serve_for_ever(CentralPost(log), arguments)),
            asyncio.create_task(_watch_for_ever(log)),
            asyncio.create_task(stopped.wait()),
        }
        done, _ = await asyncio.wait(working, return_when=asyncio.FIRST_COMPLETED)
        for task in working - done:
            task.cancel()
        await asyncio.gather(*(working - done), return_exceptions=True)
        for task in done:
            task.result()


async def _serve_for_ever(post: CentralPost, arguments: argparse.Namespace) -> None:
    while True:
        client = MqttClient(
            port=arguments.port, client_id="central-log", version=MqttVersion(arguments.mqtt), tls=_tls(arguments)
        )
        with contextlib.suppress(MqttError):
            await _serve(post, client)
        await asyncio.sleep(RECONNECT_MS / 1_000)


async def _watch_for_ever(log: CentralLog) -> None:
    while True:
        log.check_silence(read_clocks())
        await asyncio.sleep(SILENCE_CHECK_S)


def _tls(arguments: argparse.Namespace) -> ssl.SSLContext | None:
    if arguments.ca_file is None:
        return None
    context = ssl.create_default_context(cafile=arguments.ca_file)
    if arguments.cert_file is not None:
        context.load_cert_chain(arguments.cert_file, arguments.key_file)
    return context


def main(argv: Sequence[str]) -> int:
    """Serve until SIGTERM. One line on stdout each time that it is subscribed: `{"ready": true}`."""
    parser = argparse.ArgumentParser(prog="simulator central", description="The central log: verifies, signs receipts.")
    parser.add_argument("--port", required=True, type=int, metavar="PORT", help="the broker's, on loopback")
    parser.add_argument("--mqtt", choices=list(MqttVersion), default=MqttVersion.V5, help="protocol version")
    parser.add_argument("--credentials", required=True, type=Path, metavar="FILE", help="receipt key, keyset, doors")
    parser.add_argument("--store", required=True, type=Path, metavar="FILE", help="SQLite file, made when absent")
    parser.add_argument("--ca-file", type=Path, metavar="FILE", help="PEM: who may vouch for the broker; turns TLS on")
    parser.add_argument("--cert-file", type=Path, metavar="FILE", help="PEM: this log's certificate")
    parser.add_argument("--key-file", type=Path, metavar="FILE", help="PEM: its private key")
    asyncio.run(_run(parser.parse_args(argv)))
    return 0
