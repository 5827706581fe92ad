"""C2SP notes from their pages: signed-note, tlog-checkpoint, tlog-cosignature. One regular expression, one verdict."""

from __future__ import annotations

import base64
import hashlib
import re

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

NOTE = re.compile(rb"(?P<text>(?:[^\n]+\n){3,})\n(?P<lines>(?:\xe2\x80\x94 [^ +\n]+ [A-Za-z0-9+/]+=*\n){1,16})")
BODY = re.compile(rb"(?P<origin>[^\n]+)\n(?P<size>0|[1-9][0-9]*)\n(?P<root>[A-Za-z0-9+/]{43}=)\n(?:[^\n]+\n)*")
CONTROLS = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029]")


class NotANoteError(Exception):
    """It says MALFORMED or BAD_SIGNATURE."""


def stated(
    note: bytes, *, name: str, public: bytes, cosigned: bool
) -> tuple[str, int, bytes, int | None]:  # the time of a receipt
    """Return origin, size, root and time that this key signed."""
    taken = NOTE.fullmatch(note) if len(note) <= 4096 else None
    if taken is None or not _is_text(note):
        raise NotANoteError("MALFORMED")
    kind = b"\x04" if cosigned else b"\x01"
    key_id = hashlib.sha256(name.encode() + b"\n" + kind + public).digest()[:4]
    claims = [_decoded(line) for line in taken["lines"].splitlines() if line.split(b" ")[1] == name.encode()]
    ours = [claim[4:] for claim in claims if claim[:4] == key_id]
    if len(ours) > 1:
        raise NotANoteError("MALFORMED")
    if not ours:
        raise NotANoteError("BAD_SIGNATURE")
    text, signature, time_s = taken["text"], ours[0], None
    if cosigned:
        time_s, signature = int.from_bytes(signature[:8], "big"), signature[8:]
        if time_s >= 2**63:
            raise NotANoteError("MALFORMED")
    _verify(public, signature, text if time_s is None else b"cosignature/v1\ntime %d\n%s" % (time_s, text))
    body = BODY.fullmatch(text)
    if body is None or int(body["size"]) >= 2**63 or base64.b64encode(base64.b64decode(body["root"])) != body["root"]:
        raise NotANoteError("MALFORMED")
    if not cosigned and body["origin"].decode() != name:
        raise NotANoteError("BAD_SIGNATURE")
    return body["origin"].decode(), int(body["size"]), base64.b64decode(body["root"]), time_s


ACCOUNTED = re.compile(rb"(?P<body>(?:[^\n]+\n){3})accounted (?P<size>0|[1-9][0-9]{0,18})\n")


def erased(note: bytes, *, origin: str, public: bytes) -> tuple[int, bytes, int]:
    """Return index, leaf hash and how far it is accounted for, of an entry of this log whose words were erased."""
    _, index, leaf_hash, _ = stated(note, name=f"{origin}/erased", public=public, cosigned=False)
    taken = ACCOUNTED.fullmatch(note.partition(b"\n\n")[0] + b"\n")
    if taken is None or int(taken["size"]) >= 2**63:
        raise NotANoteError("MALFORMED")
    return index, leaf_hash, int(taken["size"])


def _is_text(note: bytes) -> bool:
    try:
        return CONTROLS.search(note.decode()) is None
    except UnicodeDecodeError:
        return False


def _decoded(line: bytes) -> bytes:
    encoded = line.split(b" ")[2]
    decoded = base64.b64decode(encoded)
    if len(decoded) <= 4:
        raise NotANoteError("MALFORMED")
    return decoded


def _verify(public: bytes, signature: bytes, message: bytes) -> None:
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except InvalidSignature as error:
        raise NotANoteError("BAD_SIGNATURE") from error
