"""The papers of a gateway, as a file holds them, and whether they are in order. Pure."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Annotated, Final, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from firmware_protocol import cose
from firmware_protocol.chains import open_by_role
from firmware_protocol.errors import RemoteProtocolError
from firmware_protocol.orders import Door, PairingOrder
from firmware_protocol.vocabulary import Role
from gatewayd.access.trust import own_authority
from gatewayd.errors import GatewayError
from gatewayd.plain_text import printable
from gatewayd.store.locks import LockHome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from firmware_protocol.tokens import Authority, Keyset
    from gatewayd.identity import Identity

FILE_SIZE_MAX: Final = 4_194_304
"""Longest file, in bytes: 64 locks and 64 providers fit many times."""
OBJECT_COUNT_MAX: Final = 64
"""Most objects of a kind."""
_FINGERPRINT_SIZE: Final = 16
_IN_OUR_WORDS: Final = {
    "extra_forbidden": "is none of the names that papers have: keyset, authorities, state, doors, pairing_orders",
    "tuple_type": "is no list, […]",
}
"""What pydantic says of Python's types, by its stable kind of error."""

T = TypeVar("T")


class ProvisioningError(GatewayError):
    """The papers are not in order; nothing of them was kept."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("provisioning.refused", "\n".join(problems))
        self.problems = tuple(problems)


def _from_base64url(value: object) -> object:
    if not isinstance(value, str) or not value.isascii():
        raise ValueError("is not base64url text")
    bare = value.rstrip("=")
    try:
        return base64.b64decode(bare + "=" * (-len(bare) % 4), altchars=b"-_", validate=True)
    except ValueError:
        raise ValueError("is not base64url text") from None


Signed = Annotated[bytes, BeforeValidator(_from_base64url), Field(min_length=1)]
Several = Annotated[tuple[Signed, ...], Field(max_length=OBJECT_COUNT_MAX)]


class Papers(BaseModel):
    """What a provisioning file holds: signed objects, each as base64url of its bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    keyset: Signed | None = None
    """May be left out where the gateway has one."""
    authorities: Several = ()
    state: Signed | None = None
    doors: Several = ()
    pairing_orders: Several = ()


@dataclass(slots=True)
class Findings:
    """Collects what is wrong, so that all of it is said at once."""

    problems: list[str] = field(default_factory=list)

    def check(self, where: str, verify: Callable[[], T]) -> T | None:
        """Return what `verify` returns, or None and a problem."""
        try:
            return verify()
        except RemoteProtocolError as error:
            self.add(where, f"{error.detail} ({error.code.dotted})")
            return None

    def add(self, where: str, problem: str) -> None:
        """Note a problem."""
        self.problems.append(printable(f"{where}: {problem}"))


def read_papers(content: bytes) -> Papers:
    """Return the papers in a JSON file; nothing of them is verified.

    Raises:
        ProvisioningError: it is no such file.
    """
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        raise ProvisioningError(["the file is not JSON"]) from None
    return papers_of(document)


def papers_of(document: object) -> Papers:
    """Return the papers in what a JSON file says; nothing of them is verified.

    Raises:
        ProvisioningError: it does not say papers.
    """
    if not isinstance(document, dict):
        raise ProvisioningError(["holds no papers: they are one JSON object, {…}, with keyset, doors and the like"])
    try:
        return Papers.model_validate(document)
    except ValidationError as error:
        raise ProvisioningError(
            [_said(one["loc"], _IN_OUR_WORDS.get(one["type"], one["msg"])) for one in error.errors(include_url=False)]
        ) from None


def _said(path: Sequence[int | str], message: str) -> str:
    where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")
    return printable(": ".join(part for part in (where, message.removeprefix("Value error, ")) if part))


def check_authorities(
    papers: Papers, *, keyset: Keyset, gateway_id: bytes, findings: Findings
) -> Iterator[tuple[Authority, bytes]]:
    """Yield each Authority that the authority role has signed for this gateway, with its bytes."""
    for number, raw in enumerate(papers.authorities):
        authority = findings.check(
            f"authorities[{number}]", partial(own_authority, raw, keyset=keyset, gateway_id=gateway_id)
        )
        if authority is not None:
            yield authority, raw


def check_homes(papers: Papers, *, keyset: Keyset, identity: Identity, findings: Findings) -> list[LockHome]:
    """Return the lock of each pairing order with its Door; both must name this gateway's very keys."""
    doors = dict(_doors(papers, keyset, identity, findings))
    homes = []
    for number, raw in enumerate(papers.pairing_orders):
        where = f"pairing_orders[{number}]"
        order = findings.check(where, partial(open_by_role, PairingOrder, raw, keyset=keyset, role=Role.PAIRING))
        if order is None:
            continue
        for problem in _strangeness(order, identity):
            findings.add(where, problem)
        if order.lock_id not in doors:
            findings.add(where, f"lock {order.lock_id.hex()} has no Door in this file")
            continue
        door, door_raw = doors.pop(order.lock_id)
        if hashlib.sha256(door.lock_link_key).digest()[:_FINGERPRINT_SIZE] != order.lock_link_key_fingerprint:
            findings.add(where, "its fingerprint is not that of the Door's lock_link_key")
        homes.append(LockHome(lock_id=order.lock_id, pairing_order=raw, door=door_raw, owner_epoch=order.owner_epoch))
    for lock_id in doors:
        findings.add("doors", f"lock {lock_id.hex()} has no pairing order in this file")
    return homes


def _doors(
    papers: Papers, keyset: Keyset, identity: Identity, findings: Findings
) -> Iterator[tuple[bytes, tuple[Door, bytes]]]:
    for number, raw in enumerate(papers.doors):
        where = f"doors[{number}]"
        door = findings.check(where, partial(open_by_role, Door, raw, keyset=keyset, role=Role.STATUS))
        if door is None:
            continue
        for problem in _strangeness(door, identity):
            findings.add(where, problem)
        if cose.id_of(door.lock_log_key) != door.lock_id:
            findings.add(where, "its lock_id is not that of its lock_log_key")
        yield door.lock_id, (door, raw)


def _strangeness(paper: Door | PairingOrder, identity: Identity) -> Iterator[str]:
    """Yield how the gateway that a paper names is not this one."""
    if paper.gateway_id != identity.gateway_id:
        yield f"is for gateway {paper.gateway_id.hex()}, this one is {identity.gateway_id.hex()}"
        return
    if paper.gateway_identity_key != identity.public_key:
        yield "names another identity key than ours"
    if paper.gateway_link_key != identity.link_keys.public:
        yield "names another link key than ours: which gateway-link.key was it issued for?"
