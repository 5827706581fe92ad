"""Laws 8 to 11 of the door over a lock's whole life, as whoever stands outside can see whether they are kept.

What was published, what was logged, what stands in the files, and what the bolt did: the gateway is not asked.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import json
import shutil
import sqlite3
import tempfile
from bisect import bisect_right
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import structlog

from firmware_protocol.chains import open_by_role, verify_keyset
from firmware_protocol.errors import RemoteProtocolError
from firmware_protocol.orders import Door, PairingOrder
from firmware_protocol.signed import open_signed
from firmware_protocol.statements import AuthorityState
from firmware_protocol.tokens import Authority, Grant
from firmware_protocol.vocabulary import Role
from tests.support.life_world import PSEUDONYM
from tests.support.memory_radio import ADDRESS
from tests.support.memory_world import PROVIDER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence

    from firmware_protocol.tokens import Keyset
    from gatewayd.uplink.seam import Incoming
    from simulator.office import Office
    from tests.support.life_world import LifeWorld

INBOUND: Final = ("command", "alarm", "log/receipt", "request/", "authority/")
"""Topics below a gateway's own on which others speak."""
RETAINED: Final = ("state", "info", "health", "lock/")
ALARM: Final = "alert.raised"
"""What is logged as an error and is none of ours: somebody is to look."""
TABLES: Final = (
    *("signed_objects", "keysets", "authorities", "grants", "lock_homes", "commands", "grant_uses", "issued"),
    *("buckets", "alarms", "lockouts", "suspicions"),
)
"""All of a store that input can cost somebody something in; the journal is not among them."""
STALE_S_MAX: Final = 300
"""No reader may be told to show a state for longer than this."""
ON_THE_WAY_S: Final = 3
"""What a state may have been on its way, beside the whole seconds that its age is told in."""
TOLERANCE_S: Final = 2
SAID_COUNT_MAX: Final = 100
"""Most breaches that are kept; one is enough to fail."""

Rows = dict[str, list[dict[str, Any]]]


@dataclass(slots=True)
class Truth:
    """How bolt and door have stood, by the world's own record."""

    moments: list[float] = field(default_factory=list)
    values: list[tuple[str, str]] = field(default_factory=list)

    def note(self, at_s: float, bolt: str, door: str) -> None:
        """From this moment on they stand so."""
        self.moments.append(at_s)
        self.values.append((bolt, door))

    def between(self, from_s: float, to_s: float) -> set[tuple[str, str]]:
        """Return how they stood at some time in this span."""
        first = max(0, bisect_right(self.moments, from_s) - 1)
        return set(self.values[first : bisect_right(self.moments, to_s)])


def shown_problems(payload: bytes, truth: Truth, now_s: float) -> Iterator[str]:
    """Yield what is wrong with a shown state of the lock, by law 10."""
    shown = json.loads(payload)
    age_s, stale_s = shown.get("age_s"), shown.get("stale_after_s")
    if age_s is None or stale_s is None or "observed_at" not in shown:
        yield "law 10: a state without its age"
        return
    if stale_s > STALE_S_MAX:
        yield f"law 10: a state that may be shown for {stale_s} s"
    state = (shown["bolt"], shown["door"])
    if state == ("unknown", "unknown"):
        return
    if age_s > stale_s:
        yield f"law 10: {shown['bolt']} is shown, {age_s} s old"
    stood = truth.between(now_s - age_s - 1 - ON_THE_WAY_S, now_s - age_s + ON_THE_WAY_S)
    if state not in stood:
        yield f"law 10: {state} is shown as {age_s} s old, and then it was {stood}"


def readable(payload: bytes) -> Iterator[bytes]:
    """Yield whatever a reader without keys finds in a message: the bytes, and what its texts are in other bytes."""
    yield payload
    try:
        document = json.loads(payload)
    except ValueError:
        return
    texts = [document]
    while texts:
        match texts.pop():
            case dict() as members:
                texts += [*members, *members.values()]
            case list() as items:
                texts += items
            case str() as text:
                yield text.encode()
                yield from _decoded(text)
            case _:
                pass


def _decoded(text: str) -> Iterator[bytes]:
    padded = text + "=" * (-len(text) % 4)
    for altchars in (b"+/", b"-_"):
        try:
            yield base64.b64decode(padded, altchars=altchars, validate=True)
        except (binascii.Error, ValueError):
            continue


def words_in(payload: bytes, words: Mapping[bytes, str]) -> Iterator[str]:
    """Yield what of these words can be read in a message, by law 9."""
    found = b"\0".join(readable(payload)).lower()
    yield from (f"law 9: {what} can be read" for word, what in words.items() if word.lower() in found)


def secret_forms(secret: bytes, what: str) -> dict[bytes, str]:
    """Return a secret in each form in which it could be read."""
    return dict.fromkeys((secret, secret.hex().encode(), base64.b64encode(secret).rstrip(b"=")), what)


def rows_of(store: Path) -> Rows:
    """Return what stands in a store's file, whoever has it open: of its bytes as they are on the disk."""
    if not store.exists():
        return {}
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / store.name
        for suffix in ("", "-wal"):
            if (part := store.with_name(store.name + suffix)).exists():
                shutil.copyfile(part, copy.with_name(copy.name + suffix))
        with closing(sqlite3.connect(copy)) as database:
            database.row_factory = sqlite3.Row
            queries = {table: f"SELECT * FROM {table}" for table in TABLES}
            return {table: sorted(map(dict, database.execute(query)), key=repr) for table, query in queries.items()}


def object_problems(objects: Mapping[str, Sequence[bytes]], office: Office) -> Iterator[str]:
    """Yield each object that is held and that nobody of this office has signed for this, by law 8."""
    keyset: Keyset | None = None
    for raw in objects.get("keyset", ()):
        try:
            keyset = verify_keyset(raw, roots=office.root_public_keys)
        except RemoteProtocolError as error:
            yield f"law 8: a keyset is held: {error}"
    provider = bytes(office.signing_key(f"provider-{PROVIDER}").verify_key)
    openers: dict[str, Callable[[bytes], object]] = {"grant": lambda raw: open_signed(Grant, raw, provider)}
    if keyset is not None:
        of_roles = {
            "state": (AuthorityState, Role.STATUS),
            "authority": (Authority, Role.AUTHORITY),
            "order": (PairingOrder, Role.PAIRING),
            "door": (Door, Role.STATUS),
        }
        for name, (kind, role) in of_roles.items():
            openers[name] = lambda raw, kind=kind, role=role: open_by_role(kind, raw, keyset=keyset, role=role)  # type: ignore[misc]
    for name, opener in openers.items():
        for raw in objects.get(name, ()):
            try:
                opener(raw)
            except RemoteProtocolError as error:
                yield f"law 8: a {name} is held: {error}"


def objects_in(rows: Rows) -> dict[str, list[bytes]]:
    """Return the signed objects of a store, by what they are held as."""
    held: dict[str, list[bytes]] = {"keyset": [], "state": [], "authority": [], "grant": [], "order": [], "door": []}
    for row in rows.get("signed_objects", ()):
        held["keyset" if row["kind"] == "keyset" else "state"].append(row["raw"])
    for name, table in (("keyset", "keysets"), ("authority", "authorities"), ("grant", "grants")):
        held[name] += [row["raw"] for row in rows.get(table, ())]
    for row in rows.get("lock_homes", ()):
        held["order"].append(row["pairing_order"])
        held["door"].append(row["door"])
    return held


def cost_problems(before: Cost, after: Cost) -> Iterator[str]:
    """Yield what input has cost that was refused, by law 11."""
    for table in TABLES:
        if before.rows.get(table) != after.rows.get(table):
            yield f"law 11: table {table} was changed"
    if before.files != after.files:
        yield "law 11: a file was written"
    if before.entry_count > after.entry_count:
        yield "law 11: entries of the journal are gone"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What bad input must leave as it is."""

    rows: Rows
    files: dict[str, str]
    """SHA-256 of each file of the unit, but for the store."""
    entry_count: int

    @classmethod
    def now(cls, world: LifeWorld) -> Cost:
        """Take stock."""
        folder = world.store_folder if world.unit is None else world.unit.folder
        files = [path for path in folder.rglob("*") if path.is_file() and ".sqlite" not in path.name]
        return cls(
            rows=rows_of(world.store_path),
            files={str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(files)},
            entry_count=sum(held.frontier.size for held in world.central_store.logs()),
        )


class Outsider:
    """Hears and sees everything from the first day on. `breaches` says what was against the law."""

    def __init__(self, world: LifeWorld) -> None:
        self.breaches: list[str] = []
        self.heard_count = 0
        self.shown_count = 0
        self.logged_count = 0
        self._world = world
        self._truth = Truth()
        self._secrets = _secrets(world)
        self._words = self._secrets | {
            ADDRESS.encode(): "where the lock is on the air",
            world.home.label.encode(): "the name of the home",
        }
        self._note_truth()
        keeper = world.mechanics.on_changed

        def changed() -> None:
            self._note_truth()
            if keeper is not None:
                keeper()

        world.mechanics.on_changed = changed
        world.broker.listen("carelock/v1/#", self.hear)

    def check(self, stage: str) -> None:
        """Look at what stands written, and fail where a law has been broken so far."""
        world = self._world
        values = world.lock.flash.values
        in_lock = {"keyset": [values.keyset], "state": [values.state], "authority": list(values.authorities)}
        for held in (
            objects_in(rows_of(world.store_path)),
            {name: list(filter(None, raws)) for name, raws in in_lock.items()},
        ):
            self._note(object_problems(held, world.office))
        if values.time_floor_s > world.utc_s() + TOLERANCE_S:
            self._note(["law 8: the lock believes in a time that has not come"])
        shown = world.broker.retained.get(world.topics.state)
        if world.house is None and shown is not None and json.loads(shown)["state"] != "offline":
            self._note(["law 10: a gateway that is gone is shown as online"])
        assert self.breaches == [], f"{stage}: {self.breaches}"

    def log(self, _logger: object, _name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """Read what is logged, as a processor of structlog; nothing is printed."""
        self.logged_count += 1
        line = repr(event).encode()
        self._note(f"{each} in the log: {event['event']}" for each in words_in(line, self._secrets))
        is_alarm = event["event"] == ALARM
        if (event.get("level") in {"error", "critical"} and not is_alarm) or "exc_info" in event:
            self._note([f"law 11: a fault that nobody foresaw: {line.decode()}"])
        raise structlog.DropEvent

    def hear(self, message: Incoming) -> None:
        """Take a message of the broker's; what others say to a gateway is theirs."""
        gateway, _, name = message.topic.removeprefix("carelock/v1/").partition("/")
        if name.startswith(INBOUND) or not message.payload:
            return
        self.heard_count += 1
        world = self._world
        words = dict(self._words)
        if name.startswith(RETAINED):
            words[PSEUDONYM] = "who was here"
        if world.seal_to is not None and name == "log/entries":
            words |= dict.fromkeys((PSEUDONYM, b"carelock.command", b"carelock.lock"), "what happened")
        if world.seal_to is not None and name.startswith("lock/") and name.endswith("/state"):
            self._note([f"law 9: {name} is shown, and entries are sealed"])
        self._note(f"{each} on {message.topic}" for each in words_in(message.topic.encode() + b" ", words))
        self._note(f"{each} on {name}" for each in words_in(message.payload, words))
        if name == f"lock/{world.home.lock_id.hex()}/state" and gateway == world.topics.gateway:
            self.shown_count += 1
            self._note(shown_problems(message.payload, self._truth, asyncio.get_running_loop().time()))
        if name == "log/entries" and world.seal_to is None:
            told = datetime.fromisoformat(json.loads(message.payload)["time"]).timestamp()
            if told > world.utc_s() + TOLERANCE_S:
                self._note([f"law 8: an entry of {told - world.utc_s():.0f} s from now"])

    def _note_truth(self) -> None:
        mechanics = self._world.mechanics
        moment = asyncio.get_running_loop().time()
        self._truth.note(moment, mechanics.bolt.name.lower(), mechanics.door.name.lower())

    def _note(self, problems: Sequence[str] | Iterator[str]) -> None:
        self.breaches += list(problems)[: SAID_COUNT_MAX - len(self.breaches)]


def _secrets(world: LifeWorld) -> dict[bytes, str]:
    """Return what nobody may read anywhere, with what it is."""
    keys, home = world.lock.keys, world.home
    words: dict[bytes, str] = {}
    for secret, what in (
        (bytes(keys.log_key), "the lock's log key"),
        (keys.link.private, "the lock's link key"),
        (keys.label.secret, "the secret of the label"),
        (bytes(home.gateway_signing_key), "the gateway's key"),
        (home.gateway_link_keys.private, "the gateway's link key"),
    ):
        words |= secret_forms(secret, what)
    return words
