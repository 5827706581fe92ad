"""Signed notes, checkpoints and cosignatures (docs/protocol.md §13) as C2SP specifies them.

The pages are signed-note, tlog-checkpoint and tlog-cosignature.

The gateway states its journal in a checkpoint that it signs; the central log answers with a cosignature over
the same checkpoint: that is the receipt. Only Ed25519 (types 0x01 and 0x04). Where C2SP leaves room we are
strict: one text has one encoding, and what C2SP allows but we never write (more than 4,096 bytes, more than
16 signatures, other control characters) is refused.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

from firmware_protocol.codes import Code
from firmware_protocol.errors import LocalProtocolError, RemoteProtocolError
from firmware_protocol.merkle import TREE_SIZE_MAX
from firmware_protocol.vocabulary import HASH_SIZE, KEY_SIZE

if TYPE_CHECKING:
    from nacl.signing import SigningKey

NOTE_SIZE_MAX: Final = 4_096
"""Longest signed note, in bytes; refused before anything is parsed."""
SIGNATURE_COUNT_MAX: Final = 16
"""Most signatures on a note: as many as C2SP signed-note asks a verifier to accept."""
ED25519: Final = 0x01
"""Signature type of a note's own signature, C2SP signed-note."""
COSIGNATURE_V1: Final = 0x04
"""Signature type of a timestamped cosignature, C2SP tlog-cosignature."""
TIME_S_MAX: Final = 2**63 - 1
TIME_SIZE: Final = 8
"""Bytes of the time at the beginning of a cosignature, big-endian."""

_KEY_ID_SIZE: Final = 4
_SIGNATURE_SIZE: Final = 64
_SIZE_PATTERN: Final = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)
_ID_PATTERN: Final = re.compile(r"[a-z0-9-]+", re.ASCII)
_DASH: Final = "\N{EM DASH}"


def origin_of(gateway_id_text: str, log_id_text: str) -> str:
    """Return the origin of a gateway's journal, which is also the key name of its checkpoints.

    Raises:
        LocalProtocolError: an id that is not one or more of `a-z 0-9 -`.
    """
    if not _ID_PATTERN.fullmatch(gateway_id_text) or not _ID_PATTERN.fullmatch(log_id_text):
        raise LocalProtocolError("an id in an origin has only a-z, 0-9 and -")
    return f"carelock/{gateway_id_text}/{log_id_text}"


def note_key_id(name: str, algorithm: int, public: bytes) -> bytes:
    """Return the 4 bytes that, with `name`, say which key of which signature type signed a note."""
    return hashlib.sha256(name.encode() + b"\n" + bytes([algorithm]) + public).digest()[:_KEY_ID_SIZE]


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """What a log says of itself: how many entries, and the root over them."""

    origin: str
    """Which log; see `origin_of`."""
    size: int
    """Count of entries, below 2^63."""
    root: bytes
    """32 bytes, see `merkle`."""
    extensions: tuple[str, ...] = ()
    """Further lines, verbatim and without meaning here."""

    def body(self) -> bytes:
        """Return the note text: what is signed, final newline included.

        Raises:
            LocalProtocolError: `parse` would refuse it.
        """
        if problem := self._problem():
            raise LocalProtocolError(f"not a checkpoint: {problem}")
        lines = (self.origin, self.size, _base64(self.root), *self.extensions)
        return _within_size("".join(f"{line}\n" for line in lines).encode())

    @classmethod
    def parse(cls, body: bytes) -> Self:
        """Read a note text strictly.

        Raises:
            RemoteProtocolError: MALFORMED, when `body` is not the one encoding of a checkpoint.
        """
        text = _text(body)
        if not text.endswith("\n"):
            raise _malformed("checkpoint without a final newline")
        origin, size, root, *extensions = _three_lines_or_more(text)
        if not _SIZE_PATTERN.fullmatch(size):
            raise _malformed("checkpoint size that is no canonical number")
        checkpoint = cls(origin=origin, size=int(size), root=_unbase64(root), extensions=tuple(extensions))
        if problem := checkpoint._problem():
            raise _malformed(f"checkpoint: {problem}")
        return checkpoint

    def _problem(self) -> str | None:
        if not 0 <= self.size <= TREE_SIZE_MAX:
            return "size out of range"
        if len(self.root) != HASH_SIZE:
            return f"root of {len(self.root)} bytes"
        for line in (self.origin, *self.extensions):
            if not line or _has_control(line):
                return "origin or extension line that is empty or has control characters"
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteSignature:
    """One signature line of a note, not yet believed."""

    name: str
    key_id: bytes
    """4 bytes, see `note_key_id`."""
    signature: bytes
    """What the signature type says: 64 bytes of Ed25519, or 8 of time and 64 of Ed25519."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedNote:
    """A note taken apart, not yet believed."""

    text: bytes
    """What is signed, final newline included."""
    signatures: tuple[NoteSignature, ...]
    """1 to 16, in the note's order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cosignature:
    """A verified statement: at this time the cosigner had seen this checkpoint, consistent with all before it."""

    checkpoint: Checkpoint
    time_s: int
    """UTC seconds by the cosigner's clock."""


def parse_note(data: bytes) -> SignedNote:
    """Take a note apart; nothing in it is verified.

    Raises:
        RemoteProtocolError: MALFORMED.
    """
    note = _text(data)
    text, blank_line, signatures = note.rpartition("\n\n")
    if not blank_line or not signatures.endswith("\n"):
        raise _malformed("note without text, blank line and signatures")
    lines = signatures.removesuffix("\n").split("\n")
    if len(lines) > SIGNATURE_COUNT_MAX:
        raise _malformed(f"note with more than {SIGNATURE_COUNT_MAX} signatures")
    return SignedNote(text=f"{text}\n".encode(), signatures=tuple(_signature_of(line) for line in lines))


def sign_checkpoint(checkpoint: Checkpoint, *, key: SigningKey, name: str) -> bytes:
    """Return the checkpoint as a note signed by its own log.

    Raises:
        LocalProtocolError: not a checkpoint, too long, or `name` is not its origin.
    """
    body = checkpoint.body()
    if name != checkpoint.origin:
        raise LocalProtocolError("a log signs its checkpoints under its origin")
    line = _signature_line(name, ED25519, bytes(key.verify_key), key.sign(body).signature)
    return _within_size(body + b"\n" + line)


def verify_checkpoint(data: bytes, *, name: str, public: bytes) -> Checkpoint:
    """Return the checkpoint that the log `name` signed with the key `public` (32 bytes).

    The origin must be `name`: one gateway key signs a new log after the old one was lost, and a name on a
    signature line is not itself signed, so an old log's checkpoint could pass as the new one's.

    Raises:
        RemoteProtocolError: BAD_SIGNATURE, when the key signed nothing here, or another text or log;
            MALFORMED, when it is not a signed note, or what it signed is not a checkpoint.
        LocalProtocolError: `public` is no key.
    """
    note = parse_note(data)
    signature = _signature_by(note, name=name, algorithm=ED25519, public=public)
    _verify(public, note.text, signature)
    checkpoint = Checkpoint.parse(note.text)
    if checkpoint.origin != name:
        raise RemoteProtocolError(Code.BAD_SIGNATURE, "checkpoint of another log")
    return checkpoint


def cosign(note: bytes, *, key: SigningKey, name: str, time_s: int) -> bytes:
    """Return `note` with one more line: a `cosignature/v1` of its checkpoint.

    The caller has verified the checkpoint and its consistency with all that it cosigned before; that is
    what the line states.

    Raises:
        RemoteProtocolError: MALFORMED, when `note` is not a signed checkpoint, has no room for the line or has
            one by this key: of two, no reader could tell which speaks.
        LocalProtocolError: a name or a time that no note can carry.
    """
    parsed = parse_note(note)
    Checkpoint.parse(parsed.text)
    public = bytes(key.verify_key)
    if _signatures_by(parsed, name=name, algorithm=COSIGNATURE_V1, public=public):
        raise _malformed("note that this key has cosigned before")
    signature = key.sign(_cosigned_message(parsed.text, time_s)).signature
    line = _signature_line(name, COSIGNATURE_V1, public, time_s.to_bytes(TIME_SIZE, "big") + signature)
    if len(parsed.signatures) == SIGNATURE_COUNT_MAX or len(note) + len(line) > NOTE_SIZE_MAX:
        raise _malformed("note without room for a cosignature")
    return note + line


def verify_cosignature(data: bytes, *, name: str, public: bytes) -> Cosignature:
    """Return what the cosigner `name` with the key `public` (32 bytes) stated.

    It says nothing about the log's own signature, and a cosigner serves many logs: the caller compares the
    checkpoint with its own. A time in the future is not refused here: nothing here reads a clock.

    Raises:
        RemoteProtocolError: BAD_SIGNATURE, when the key cosigned nothing here, or something else; MALFORMED,
            when it is not a signed note, or what is cosigned is not a checkpoint.
        LocalProtocolError: `public` is no key.
    """
    note = parse_note(data)
    timestamped = _signature_by(note, name=name, algorithm=COSIGNATURE_V1, public=public)
    time_s = int.from_bytes(timestamped[:TIME_SIZE], "big")
    if time_s > TIME_S_MAX:
        raise _malformed("cosignature time out of range")
    _verify(public, _cosigned_message(note.text, time_s), timestamped[TIME_SIZE:])
    return Cosignature(checkpoint=Checkpoint.parse(note.text), time_s=time_s)


def _cosigned_message(text: bytes, time_s: int) -> bytes:
    if not 0 <= time_s <= TIME_S_MAX:
        raise LocalProtocolError("cosignature time out of range")
    return f"cosignature/v1\ntime {time_s}\n".encode() + text


def _signature_by(note: SignedNote, *, name: str, algorithm: int, public: bytes) -> bytes:
    """Return the one signature that claims to be by this key; two would leave open which of them speaks."""
    claimed = _signatures_by(note, name=name, algorithm=algorithm, public=public)
    if not claimed:
        raise RemoteProtocolError(Code.BAD_SIGNATURE, "note without a signature by this key")
    if len(claimed) > 1:
        raise _malformed("note with two signatures by one key")
    return claimed[0]


def _signatures_by(note: SignedNote, *, name: str, algorithm: int, public: bytes) -> list[bytes]:
    key_id = note_key_id(name, algorithm, public)
    return [each.signature for each in note.signatures if (each.name, each.key_id) == (name, key_id)]


def _verify(public: bytes, message: bytes, signature: bytes) -> None:
    if len(public) != KEY_SIZE:
        raise LocalProtocolError(f"an Ed25519 key has {KEY_SIZE} bytes")
    if len(signature) != _SIGNATURE_SIZE:
        raise RemoteProtocolError(Code.BAD_SIGNATURE, f"Ed25519 signature of {len(signature)} bytes")
    try:
        VerifyKey(public).verify(message, signature)
    except BadSignatureError as error:
        raise RemoteProtocolError(Code.BAD_SIGNATURE, "note signed over something else") from error


def _signature_line(name: str, algorithm: int, public: bytes, signature: bytes) -> bytes:
    if not _is_key_name(name):
        raise LocalProtocolError("a key name is not empty and has no spaces, plus signs or control characters")
    return f"{_DASH} {name} {_base64(note_key_id(name, algorithm, public) + signature)}\n".encode()


def _signature_of(line: str) -> NoteSignature:
    dash, _, rest = line.partition(" ")
    name, _, encoded = rest.partition(" ")
    if dash != _DASH or not _is_key_name(name):
        raise _malformed("note with a signature line of another form")
    signature = _unbase64(encoded)
    if len(signature) <= _KEY_ID_SIZE:
        raise _malformed("note with an empty signature")
    return NoteSignature(name=name, key_id=signature[:_KEY_ID_SIZE], signature=signature[_KEY_ID_SIZE:])


def _is_key_name(name: str) -> bool:
    return bool(name) and not any(each.isspace() or each == "+" or _has_control(each) for each in name)


def _three_lines_or_more(text: str) -> list[str]:
    lines = text.removesuffix("\n").split("\n")  # never splitlines: to it, U+2028 and others end a line too
    if len(lines) < 3:  # noqa: PLR2004 - origin, size, root
        raise _malformed("checkpoint of less than three lines")
    return lines


def _text(data: bytes) -> str:
    if len(data) > NOTE_SIZE_MAX:
        raise _malformed(f"note of {len(data)} bytes, {NOTE_SIZE_MAX} allowed")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise _malformed("note that is not UTF-8") from error
    if _has_control(text.replace("\n", "")):
        raise _malformed("note with control characters")
    return text


def _has_control(text: str) -> bool:
    """Tell of C0 and C1 controls and line separators, which could forge a line of a log, and of surrogates."""
    return any(unicodedata.category(each) in {"Cc", "Cs", "Zl", "Zp"} for each in text)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _unbase64(text: str) -> bytes:
    """Decode RFC 4648 §4 with padding, no other characters and no stray bits."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise _malformed("base64 of another form") from error
    if _base64(data) != text:
        raise _malformed("base64 that is not canonical")
    return data


def _within_size(note: bytes) -> bytes:
    if len(note) > NOTE_SIZE_MAX:
        raise LocalProtocolError(f"note of {len(note)} bytes, {NOTE_SIZE_MAX} allowed")
    return note


def _malformed(detail: str) -> RemoteProtocolError:
    return RemoteProtocolError(Code.MALFORMED, detail)
