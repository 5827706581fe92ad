"""docs/protocol.md beside the code: what its tables must say, and its worked examples.

`python -m tests.support.protocol_document` writes the examples anew; everything else in the document is written by
hand and only compared.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from firmware_protocol.chains import make_bundle
from firmware_protocol.codes import Code
from firmware_protocol.cose import kid_of
from firmware_protocol.fragments import Fragmenter, FragmentKind
from firmware_protocol.hello import MAGIC, GatewayHello, LockHello, LockStatus, encode_plain, link_prologue
from firmware_protocol.lock_log import LogRecord, RecordType, chain, genesis
from firmware_protocol.messages import Confirm, LockCommand, encode_record
from firmware_protocol.noise import KK, HandshakeState
from firmware_protocol.schema import UINT_MAX as VALUE_MAX
from firmware_protocol.schema import (
    Choice,
    CodeNumber,
    Flags,
    Many,
    Name,
    Octets,
    Row,
    Text,
    Truth,
    Uint,
)
from firmware_protocol.tokens import Authority, ConfirmationKey, RoleTable
from firmware_protocol.vectors.examples import (
    COMMAND,
    GATEWAY_EPHEMERAL,
    GATEWAY_LINK,
    LOCK_EPHEMERAL,
    LOCK_LINK,
    LOCK_LOG_ID,
    NOW_S,
    PUBLIC,
    SIGNED_COMMAND,
    SIGNED_GRANT,
    VALUES,
    signed_example,
)
from firmware_protocol.vocabulary import Action

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from firmware_protocol.schema import Codec, WireField, WireMap

PATH: Final = Path(__file__).resolve().parents[2] / "docs" / "protocol.md"
_HEX_BYTES_PER_LINE: Final = 32
_EXAMPLE: Final = re.compile(r"<!-- example: (?P<name>[^>]+) -->\n```text\n(?P<hex>[^`]*)```\n")
_REQUIRED_TYPE: Final = object

# ------------------------------------------------------------------------------------------------------------ tables


def tables(text: str, kind: str) -> dict[str, list[tuple[str, ...]]]:
    """Return the rows of every table that a line `<!-- kind: name -->` announces, by name; cells without backticks."""
    found = {}
    for match in re.finditer(rf"<!-- {kind}: (?P<name>[^>]+) -->\n(?P<table>(?:\|.*\n)+)", text):
        lines = match["table"].splitlines()[2:]
        found[match["name"]] = [
            tuple(cell.strip().replace("`", "") for cell in line.split("|")[1:-1]) for line in lines
        ]
    return found


def key_rows(kind: type[WireMap]) -> list[tuple[str, ...]]:
    """Return what the document must say of each field: key, name, shape, and what leaving it out means."""
    return [(".".join(map(str, field.path)), field.name, shape(field.codec), presence(field)) for field in kind.FIELDS]


def presence(field: WireField) -> str:
    """Return what it means if a field is missing."""
    if type(field.default) is _REQUIRED_TYPE:
        return "required"
    if field.default is None or field.default == b"":
        return "optional"
    return f"default {int(field.default)}"  # type: ignore[call-overload]  # the other defaults are numbers


def shape(codec: Codec) -> str:
    """Return the shape of a value in the words of §2."""
    return _SHAPES[type(codec)](codec)


def _uint(codec: Any) -> str:
    if codec.value_max == VALUE_MAX:
        return "uint" if codec.value_min == 0 else f"uint ≥ {codec.value_min}"
    return f"uint {codec.value_min}..{codec.value_max}"


def _octets(codec: Any) -> str:
    if codec.size_min == codec.size_max:
        return f"bytes {codec.size_min}"
    return f"bytes {codec.size_min}..{codec.size_max}"


_SHAPES: Final[Mapping[type[Any], Callable[[Any], str]]] = {
    Uint: _uint,
    Octets: _octets,
    Text: lambda codec: f"text 1..{codec.size_max}",
    Name: lambda _: "name",
    Choice: lambda codec: codec.kind.__name__,
    Flags: lambda codec: codec.kind.__name__,
    Truth: lambda _: "0 or 1",
    CodeNumber: lambda _: "code",
    Many: lambda codec: f"{codec.count_min}..{codec.count_max} of {shape(codec.item)}",
    Row: lambda codec: f"[{', '.join(map(shape, codec.parts))}]",
    ConfirmationKey: lambda _: "COSE_Key",
    RoleTable: lambda _: "{Role: [uint 1..16, 1..16 of bytes 32]}",
}

# ---------------------------------------------------------------------------------------------------------- examples


@cache
def examples() -> Mapping[str, bytes]:
    """Return the bytes of every worked example, by its name in the document."""
    signed = {kind.__name__: signed_example(kind) for kind in VALUES}
    bundle = make_bundle(SIGNED_COMMAND, SIGNED_GRANT, signed[Authority.__name__])
    return {**signed, "bundle": bundle, **_link_examples(), **_log_examples()}


def _link_examples() -> dict[str, bytes]:
    gateway_hello = encode_plain(
        GatewayHello(magic=MAGIC, version_min=1, version_max=1, capabilities=0, nonce=b"\xb1" * 8)
    )
    lock_hello = encode_plain(
        LockHello(version_min=1, version_max=1, capabilities=0, boot_nonce=b"\xb2" * 8, firmware="1.0.0")
    )
    prologue = link_prologue(gateway_hello, lock_hello)
    gateway = HandshakeState(
        KK, initiator=True, prologue=prologue, s=GATEWAY_LINK, e=GATEWAY_EPHEMERAL, rs=LOCK_LINK.public, psk=None
    )
    lock = HandshakeState(
        KK, initiator=False, prologue=prologue, s=LOCK_LINK, e=LOCK_EPHEMERAL, rs=GATEWAY_LINK.public, psk=None
    )
    first = gateway.write_message(b"")
    lock.read_message(first)
    status = LockStatus(
        session_ctr=7,
        boot=3,
        up_ms=60_000,
        log_id=LOCK_LOG_ID,
        log_next_seq=6,
        log_copied_seq=5,
        log_received_seq=4,
        command_seq=2,
        command_code=Code.DONE,
    )
    second = lock.write_message(status.to_bytes())
    gateway.read_message(second)
    sending, _ = gateway.split()
    confirm = encode_record(Confirm(session_ctr=8, utc_lo_s=NOW_S, utc_hi_s=NOW_S + 1), 0)
    command = encode_record(
        LockCommand(
            command_seq=3,
            action=Action.UNLOCK,
            command_hash=b"\xc1" * 16,
            command_id=COMMAND.command_id,
            actor_kid=kid_of(PUBLIC["device"]),
            before_up_ms=65_000,
        ),
        1,
    )
    return {
        "gateway HELLO": gateway_hello,
        "lock HELLO": lock_hello,
        "prologue": prologue,
        "handshake message 1": first,
        "LockStatus": status.to_bytes(),
        "handshake message 2": second,
        "CONFIRM": confirm,
        "record 0": sending.encrypt(b"", confirm),
        "LOCK_CMD": command,
        "record 1": sending.encrypt(b"", command),
        "fragments": b"".join(Fragmenter(20).fragment(FragmentKind.HANDSHAKE, first)),
    }


def _log_examples() -> dict[str, bytes]:
    record = LogRecord(
        seq=1, boot=1, up_s=60, wall_s=None, type=RecordType.BOOT, actor=None, cmd_id=None, result=None
    ).to_bytes()
    start = genesis(LOCK_LOG_ID)
    return {"log record": record, "h0": start, "h1": chain(start, record)}


def as_lines(data: bytes) -> str:
    """Return the hex of an example as it stands in the document."""
    return "".join(
        f"{data[start : start + _HEX_BYTES_PER_LINE].hex()}\n" for start in range(0, len(data), _HEX_BYTES_PER_LINE)
    )


def examples_in(text: str) -> dict[str, str]:
    """Return the hex of every example in the document, by name."""
    return {match["name"]: match["hex"] for match in _EXAMPLE.finditer(text)}


def with_examples(text: str) -> str:
    """Return the document with every example written anew."""
    return _EXAMPLE.sub(
        lambda match: f"<!-- example: {match['name']} -->\n```text\n{as_lines(examples()[match['name']])}```\n", text
    )


if __name__ == "__main__":
    PATH.write_text(with_examples(PATH.read_text()))
