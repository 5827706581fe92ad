from __future__ import annotations

import base64
import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from nacl.signing import SigningKey, VerifyKey

from firmware_protocol.checkpoint import (
    COSIGNATURE_V1,
    ED25519,
    NOTE_SIZE_MAX,
    TIME_S_MAX,
    Checkpoint,
    Cosignature,
    cosign,
    note_key_id,
    origin_of,
    parse_note,
    sign_checkpoint,
    verify_checkpoint,
    verify_cosignature,
)
from firmware_protocol.codes import Code
from firmware_protocol.errors import LocalProtocolError, RemoteProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable

GATEWAY = SigningKey(hashlib.sha256(b"gateway").digest())
CENTRE = SigningKey(hashlib.sha256(b"centre").digest())
STRANGER = SigningKey(hashlib.sha256(b"stranger").digest())
GATEWAY_PUBLIC, CENTRE_PUBLIC = bytes(GATEWAY.verify_key), bytes(CENTRE.verify_key)

ORIGIN = origin_of("9f86d081884c7d65", "00112233445566778899aabbccddeeff")
CENTRAL_LOG = "log.example.se/central"
CHECKPOINT = Checkpoint(origin=ORIGIN, size=7, root=bytes(range(32)))
ROOT_TEXT = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
BODY = f"{ORIGIN}\n7\n{ROOT_TEXT}\n".encode()
NOTE = sign_checkpoint(CHECKPOINT, key=GATEWAY, name=ORIGIN)
RECEIPT = cosign(NOTE, key=CENTRE, name=CENTRAL_LOG, time_s=1_679_315_147)

# The examples of C2SP signed-note and tlog-cosignature.
EXAMPLE_NOTE = (
    "This is an example message.\n\n— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjO"
    "BH3mFXmRKuwHjG1Yu72IneyaQM=\n"
).encode()
EXAMPLE_KEY = base64.b64decode("AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k")[1:]
EXAMPLE_COSIGNED = (
    "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n"
    "— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xe"
    "McTOAYQ8=\n"
    "— witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+m"
    "bIUBkBIfZ+qnA==\n"
).encode()


def code_of(refused: Callable[[], object]) -> Code:
    with pytest.raises(RemoteProtocolError) as caught:
        refused()
    return caught.value.code


def checked(note: bytes) -> Checkpoint:
    return verify_checkpoint(note, name=ORIGIN, public=GATEWAY_PUBLIC)


def received(note: bytes) -> Cosignature:
    return verify_cosignature(note, name=CENTRAL_LOG, public=CENTRE_PUBLIC)


def line(name: str, signature: bytes, key_id: bytes) -> bytes:
    return f"— {name} {base64.b64encode(key_id + signature).decode()}\n".encode()


def own_line(signature: bytes) -> bytes:
    return line(ORIGIN, signature, note_key_id(ORIGIN, ED25519, GATEWAY_PUBLIC))


def central_line(signature: bytes) -> bytes:
    return line(CENTRAL_LOG, signature, note_key_id(CENTRAL_LOG, COSIGNATURE_V1, CENTRE_PUBLIC))


# ------------------------------------------------------------------------------------------------------ what C2SP says


def test_the_example_of_c2sp_signed_note_is_read_and_its_key_named() -> None:
    note = parse_note(EXAMPLE_NOTE)
    assert note.text == b"This is an example message.\n"
    (signature,) = note.signatures
    assert signature.name == "example.com/foo"
    assert signature.key_id.hex() == "530d903a"
    assert signature.key_id == note_key_id("example.com/foo", ED25519, EXAMPLE_KEY)
    VerifyKey(EXAMPLE_KEY).verify(note.text, signature.signature)


def test_attack_a_key_signed_a_note_that_is_no_checkpoint() -> None:
    refused = code_of(lambda: verify_checkpoint(EXAMPLE_NOTE, name="example.com/foo", public=EXAMPLE_KEY))
    assert refused is Code.MALFORMED


def test_the_example_of_c2sp_tlog_cosignature_is_read() -> None:
    note = parse_note(EXAMPLE_COSIGNED)
    assert [each.name for each in note.signatures] == ["example.com/behind-the-sofa", "witness.example.com/w1"]
    assert [len(each.signature) for each in note.signatures] == [64, 72]
    assert int.from_bytes(note.signatures[1].signature[:8], "big") == 1_679_315_147
    checkpoint = Checkpoint.parse(note.text)
    assert (checkpoint.origin, checkpoint.size) == ("example.com/behind-the-sofa", 20_852_163)
    assert checkpoint.body() == note.text


def test_a_checkpoint_is_signed_over_its_text_alone() -> None:
    text, _, signature_line = NOTE.partition(b"\n\n")
    encoded = base64.b64decode(signature_line.split(b" ")[2])
    assert text + b"\n" == BODY == CHECKPOINT.body()
    assert encoded[:4] == hashlib.sha256(ORIGIN.encode() + b"\n\x01" + GATEWAY_PUBLIC).digest()[:4]
    GATEWAY.verify_key.verify(BODY, encoded[4:])


def test_a_cosignature_is_signed_over_its_header_its_time_and_the_text() -> None:
    assert RECEIPT.startswith(NOTE)
    encoded = base64.b64decode(RECEIPT.removeprefix(NOTE).split(b" ")[2])
    assert encoded[:4] == hashlib.sha256(CENTRAL_LOG.encode() + b"\n\x04" + CENTRE_PUBLIC).digest()[:4]
    assert encoded[4:12] == (1_679_315_147).to_bytes(8, "big")
    CENTRE.verify_key.verify(b"cosignature/v1\ntime 1679315147\n" + BODY, encoded[12:])


# ----------------------------------------------------------------------------------------------------------- what holds


def test_an_origin_names_the_gateway_and_its_log() -> None:
    assert ORIGIN == "carelock/9f86d081884c7d65/00112233445566778899aabbccddeeff"


@pytest.mark.parametrize(("gateway", "log"), [("", "a"), ("a", ""), ("a/b", "c"), ("A", "c"), ("a", "c\n"), ("å", "c")])
def test_an_id_that_could_be_read_in_two_ways_makes_no_origin(gateway: str, log: str) -> None:
    with pytest.raises(LocalProtocolError):
        origin_of(gateway, log)


def test_a_signed_checkpoint_is_verified() -> None:
    assert checked(NOTE) == CHECKPOINT


def test_a_receipt_is_verified_for_both_of_its_signers() -> None:
    assert received(RECEIPT) == Cosignature(checkpoint=CHECKPOINT, time_s=1_679_315_147)
    assert checked(RECEIPT) == CHECKPOINT


def test_extension_lines_are_kept_verbatim_and_signed() -> None:
    extended = replace(CHECKPOINT, extensions=("tier degraded", "— not a signature", " å "))
    note = sign_checkpoint(extended, key=GATEWAY, name=ORIGIN)
    assert checked(note) == extended
    assert code_of(lambda: checked(note.replace(b"degraded", b"nominal!"))) is Code.BAD_SIGNATURE


def test_signatures_of_unknown_keys_are_ignored() -> None:
    witnessed = cosign(NOTE, key=STRANGER, name="witness.example/1", time_s=0)
    assert checked(witnessed) == CHECKPOINT
    assert received(cosign(witnessed, key=CENTRE, name=CENTRAL_LOG, time_s=TIME_S_MAX)).time_s == TIME_S_MAX


def test_sixteen_signatures_fit_and_a_seventeenth_does_not() -> None:
    note = NOTE
    for number in range(15):
        note = cosign(note, key=STRANGER, name=f"witness.example/{number}", time_s=0)
    assert len(parse_note(note).signatures) == 16
    assert code_of(lambda: cosign(note, key=CENTRE, name=CENTRAL_LOG, time_s=0)) is Code.MALFORMED
    extra = RECEIPT.removeprefix(NOTE)
    assert code_of(lambda: parse_note(note + extra)) is Code.MALFORMED


def test_a_note_of_4096_bytes_is_read_and_one_byte_more_is_not() -> None:
    def note_of(size: int) -> bytes:
        room = size - len(sign_checkpoint(Checkpoint(origin=ORIGIN, size=7, root=bytes(32)), key=GATEWAY, name=ORIGIN))
        filled = Checkpoint(origin=ORIGIN, size=7, root=bytes(32), extensions=("x" * (room - 1),))
        body = filled.body()
        return body + b"\n" + own_line(GATEWAY.sign(body).signature)

    assert len(note_of(NOTE_SIZE_MAX)) == NOTE_SIZE_MAX
    assert checked(note_of(NOTE_SIZE_MAX)).size == 7
    assert code_of(lambda: checked(note_of(NOTE_SIZE_MAX + 1))) is Code.MALFORMED
    assert code_of(lambda: cosign(note_of(NOTE_SIZE_MAX), key=CENTRE, name="c", time_s=0)) is Code.MALFORMED


@pytest.mark.parametrize("extension_size", [NOTE_SIZE_MAX - len(BODY) - 1, NOTE_SIZE_MAX])
def test_we_sign_nothing_that_would_be_refused_for_its_length(extension_size: int) -> None:
    long = Checkpoint(origin=ORIGIN, size=7, root=bytes(32), extensions=("x" * extension_size,))
    with pytest.raises(LocalProtocolError):
        sign_checkpoint(long, key=GATEWAY, name=ORIGIN)


def test_the_largest_and_the_empty_tree_have_checkpoints() -> None:
    for size in (0, 2**63 - 1):
        checkpoint = Checkpoint(origin=ORIGIN, size=size, root=bytes(32))
        assert Checkpoint.parse(checkpoint.body()) == checkpoint


# ----------------------------------------------------------------------------------------------- forms that are refused

MALFORMED_BODIES = {
    "nothing": b"",
    "no final newline": BODY[:-1],
    "two lines": f"{ORIGIN}\n7\n".encode(),
    "empty origin": f"\n7\n{ROOT_TEXT}\n".encode(),
    "leading zero": f"{ORIGIN}\n07\n{ROOT_TEXT}\n".encode(),
    "two zeros": f"{ORIGIN}\n00\n{ROOT_TEXT}\n".encode(),
    "plus sign": f"{ORIGIN}\n+7\n{ROOT_TEXT}\n".encode(),
    "negative": f"{ORIGIN}\n-7\n{ROOT_TEXT}\n".encode(),
    "underscore": f"{ORIGIN}\n1_0\n{ROOT_TEXT}\n".encode(),
    "space": f"{ORIGIN}\n 7\n{ROOT_TEXT}\n".encode(),
    "no size": f"{ORIGIN}\n\n{ROOT_TEXT}\n".encode(),
    "Arabic digit": f"{ORIGIN}\n\N{ARABIC-INDIC DIGIT SEVEN}\n{ROOT_TEXT}\n".encode(),
    "size 2^63": f"{ORIGIN}\n{2**63}\n{ROOT_TEXT}\n".encode(),
    "size of 3000 digits": f"{ORIGIN}\n{'9' * 3_000}\n{ROOT_TEXT}\n".encode(),
    "root of 31 bytes": f"{ORIGIN}\n7\n{base64.b64encode(bytes(31)).decode()}\n".encode(),
    "root of 33 bytes": f"{ORIGIN}\n7\n{base64.b64encode(bytes(33)).decode()}\n".encode(),
    "base64 without padding": f"{ORIGIN}\n7\n{ROOT_TEXT[:-1]}\n".encode(),
    "base64 with stray bits": f"{ORIGIN}\n7\n{ROOT_TEXT[:-2]}9=\n".encode(),
    "base64url": f"{ORIGIN}\n7\n{ROOT_TEXT.replace('A', '_')}\n".encode(),
    "base64 with a space": f"{ORIGIN}\n7\n{ROOT_TEXT} \n".encode(),
    "base64 not of ASCII": f"{ORIGIN}\n7\nå{ROOT_TEXT[1:]}\n".encode(),
    "empty extension line": BODY + b"\n",
    "extension after an empty line": BODY + b"\nlater\n",
    "carriage returns": BODY.replace(b"\n", b"\r\n"),
    "tab": BODY + b"a\tb\n",
    "escape": BODY + b"\x1b[2J\n",
    "NUL": b"\x00" + BODY,
    "C1 control": BODY + "\N{NEXT LINE}\n".encode(),
    "line separator": BODY + "a\N{LINE SEPARATOR}b\n".encode(),
    "not UTF-8": BODY + b"\xff\n",
    "overlong UTF-8": BODY + b"\xc0\xaf\n",
    "surrogate": BODY + b"\xed\xa0\x80\n",
    "too long": BODY + b"x" * NOTE_SIZE_MAX + b"\n",
}


@pytest.mark.parametrize("body", [pytest.param(body, id=name) for name, body in MALFORMED_BODIES.items()])
def test_a_text_that_is_not_the_one_encoding_is_malformed(body: bytes) -> None:
    assert code_of(lambda: Checkpoint.parse(body)) is Code.MALFORMED


LINE = NOTE.partition(b"\n\n")[2]
NAME, ENCODED = LINE.decode().split(" ")[1:]

MALFORMED_NOTES = {
    "nothing": b"",
    "no signature": BODY + b"\n",
    "no blank line": BODY + LINE,
    "no text": LINE,
    "signature without newline": NOTE[:-1],
    "blank line at the end": NOTE + b"\n",
    "hyphen for the em dash": BODY + b"\n" + LINE.replace("—".encode(), b"-"),
    "en dash for the em dash": BODY + b"\n" + LINE.replace("—".encode(), "\N{EN DASH}".encode()),
    "no space after the dash": BODY + b"\n" + LINE.replace("— ".encode(), "—".encode()),
    "no-break space": BODY + b"\n" + LINE.replace(b" ", "\N{NO-BREAK SPACE}".encode()),
    "two spaces": BODY + b"\n" + LINE.replace(b" ", b"  "),
    "no name": BODY + f"\n—  {ENCODED}".encode(),
    "plus in the name": BODY + f"\n— a+b {ENCODED}".encode(),
    "Unicode space in the name": BODY + f"\n— a\N{EM SPACE}b {ENCODED}".encode(),
    "no signature bytes": BODY + f"\n— {NAME} {base64.b64encode(bytes(4)).decode()}\n".encode(),
    "half a key id": BODY + f"\n— {NAME} {base64.b64encode(bytes(3)).decode()}\n".encode(),
    "no base64": BODY + f"\n— {NAME} \n".encode(),
    "a third word": BODY + b"\n" + LINE[:-1] + b" x\n",
    "base64 with stray bits": BODY + "\n— a AAAAAAB=\n".encode(),
    "text between signatures": NOTE + b"hello\n",
    "carriage returns": NOTE.replace(b"\n", b"\r\n"),
    "not UTF-8": NOTE.replace(b"carelock", b"carel\xffck"),
    "too long": BODY + b"x" * NOTE_SIZE_MAX + b"\n\n" + LINE,
}


@pytest.mark.parametrize("note", [pytest.param(note, id=name) for name, note in MALFORMED_NOTES.items()])
def test_a_note_of_another_form_is_malformed(note: bytes) -> None:
    assert code_of(lambda: parse_note(note)) is Code.MALFORMED


def test_the_last_empty_line_parts_the_text_from_the_signatures() -> None:
    note = parse_note(b"a\n\nb\n\n\n" + LINE)
    assert note.text == b"a\n\nb\n\n"
    assert len(note.signatures) == 1


@pytest.mark.parametrize(
    "checkpoint",
    [
        pytest.param(Checkpoint(origin="", size=7, root=bytes(32)), id="no origin"),
        pytest.param(Checkpoint(origin="a\nb", size=7, root=bytes(32)), id="newline in the origin"),
        pytest.param(Checkpoint(origin="\ud800", size=7, root=bytes(32)), id="surrogate"),
        pytest.param(Checkpoint(origin=ORIGIN, size=-1, root=bytes(32)), id="negative size"),
        pytest.param(Checkpoint(origin=ORIGIN, size=2**63, root=bytes(32)), id="size 2^63"),
        pytest.param(Checkpoint(origin=ORIGIN, size=7, root=bytes(31)), id="short root"),
        pytest.param(Checkpoint(origin=ORIGIN, size=7, root=bytes(32), extensions=("",)), id="empty extension"),
        pytest.param(Checkpoint(origin=ORIGIN, size=7, root=bytes(32), extensions=("a\nb",)), id="two in one"),
    ],
)
def test_we_write_no_checkpoint_that_would_be_refused(checkpoint: Checkpoint) -> None:
    with pytest.raises(LocalProtocolError):
        checkpoint.body()


@pytest.mark.parametrize("name", ["", "two words", "a+b", "a\tb", "a\x7fb"])
def test_we_write_no_key_name_that_would_be_refused(name: str) -> None:
    with pytest.raises(LocalProtocolError):
        cosign(NOTE, key=CENTRE, name=name, time_s=0)


@pytest.mark.parametrize("time_s", [-1, TIME_S_MAX + 1])
def test_we_cosign_at_no_time_that_would_be_refused(time_s: int) -> None:
    with pytest.raises(LocalProtocolError):
        cosign(NOTE, key=CENTRE, name=CENTRAL_LOG, time_s=time_s)


def test_a_log_signs_under_its_origin_only() -> None:
    with pytest.raises(LocalProtocolError):
        sign_checkpoint(CHECKPOINT, key=GATEWAY, name="another")


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_key_of_another_length_is_our_own_mistake(size: int) -> None:
    public = bytes(size)
    note = BODY + b"\n" + line(ORIGIN, bytes(64), note_key_id(ORIGIN, ED25519, public))
    with pytest.raises(LocalProtocolError):
        verify_checkpoint(note, name=ORIGIN, public=public)


# ---------------------------------------------------------------------------------------------------------- the attacks


def test_attack_another_size_under_an_old_signature() -> None:
    assert code_of(lambda: checked(NOTE.replace(b"\n7\n", b"\n6\n"))) is Code.BAD_SIGNATURE


def test_attack_a_stranger_signs_in_the_name_of_the_gateway() -> None:
    forged = sign_checkpoint(CHECKPOINT, key=STRANGER, name=ORIGIN)
    assert code_of(lambda: checked(forged)) is Code.BAD_SIGNATURE


def test_attack_a_stranger_signs_under_the_name_and_key_id_of_the_gateway() -> None:
    forged = BODY + b"\n" + own_line(STRANGER.sign(BODY).signature)
    assert code_of(lambda: checked(forged)) is Code.BAD_SIGNATURE


@pytest.mark.parametrize("size", [1, 63, 65])
def test_attack_a_signature_of_another_length(size: int) -> None:
    signature = (GATEWAY.sign(BODY).signature + b"\x00")[:size]
    assert code_of(lambda: checked(BODY + b"\n" + own_line(signature))) is Code.BAD_SIGNATURE


def test_attack_a_true_signature_hidden_behind_a_false_one() -> None:
    doubled = NOTE + own_line(bytes(64))
    assert code_of(lambda: checked(doubled)) is Code.MALFORMED


def test_attack_the_checkpoint_of_an_older_log_passed_off_as_the_new_ones() -> None:
    """The name on a signature line is not signed: the same key signs both logs, and only the origin tells."""
    older = Checkpoint(origin=origin_of("9f86d081884c7d65", "ff" * 16), size=900, root=bytes(32))
    body = older.body()
    relabelled = body + b"\n" + own_line(GATEWAY.sign(body).signature)
    assert code_of(lambda: checked(relabelled)) is Code.BAD_SIGNATURE


def test_attack_a_log_signature_is_no_cosignature_and_the_other_way_round() -> None:
    as_receipt = BODY + b"\n" + central_line(bytes(8) + CENTRE.sign(BODY).signature)
    assert code_of(lambda: received(as_receipt)) is Code.BAD_SIGNATURE
    assert code_of(lambda: received(NOTE)) is Code.BAD_SIGNATURE
    alone = BODY + b"\n" + RECEIPT.removeprefix(NOTE)
    assert code_of(lambda: checked(alone)) is Code.BAD_SIGNATURE


def test_attack_a_receipt_dated_anew() -> None:
    signature = parse_note(RECEIPT).signatures[1].signature
    for time_s in (1_679_315_146, 1_679_315_148, TIME_S_MAX):
        redated = NOTE + central_line(time_s.to_bytes(8, "big") + signature[8:])
        assert code_of(lambda note=redated: received(note)) is Code.BAD_SIGNATURE  # type: ignore[misc] # bound now


def test_attack_a_time_beyond_63_bits_that_the_cosigner_did_sign() -> None:
    message = f"cosignature/v1\ntime {2**63}\n".encode() + BODY
    note = NOTE + central_line((2**63).to_bytes(8, "big") + CENTRE.sign(message).signature)
    assert code_of(lambda: received(note)) is Code.MALFORMED


@pytest.mark.parametrize("size", [1, 8, 71, 73])
def test_attack_a_cosignature_of_another_length(size: int) -> None:
    signature = (parse_note(RECEIPT).signatures[1].signature + b"\x00")[:size]
    assert code_of(lambda: received(NOTE + central_line(signature))) is Code.BAD_SIGNATURE


def test_attack_a_receipt_moved_under_another_checkpoint() -> None:
    later = sign_checkpoint(Checkpoint(origin=ORIGIN, size=8, root=bytes(32)), key=GATEWAY, name=ORIGIN)
    assert code_of(lambda: received(later + RECEIPT.removeprefix(NOTE))) is Code.BAD_SIGNATURE


def test_attack_a_note_that_carries_our_cosignature_already_gets_no_second_one() -> None:
    assert code_of(lambda: cosign(RECEIPT, key=CENTRE, name=CENTRAL_LOG, time_s=0)) is Code.MALFORMED
    assert code_of(lambda: received(RECEIPT + central_line(bytes(72)))) is Code.MALFORMED


def test_attack_a_cosigner_is_made_to_sign_what_is_no_checkpoint() -> None:
    assert code_of(lambda: cosign(EXAMPLE_NOTE, key=CENTRE, name=CENTRAL_LOG, time_s=0)) is Code.MALFORMED


def test_attack_a_cosigned_text_that_is_no_checkpoint() -> None:
    text = b"This is an example message.\n"
    signature = CENTRE.sign(b"cosignature/v1\ntime 0\n" + text).signature
    assert code_of(lambda: received(text + b"\n" + central_line(bytes(8) + signature))) is Code.MALFORMED
