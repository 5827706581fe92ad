"""Noise vectors in the JSON of cacophony and snow: both sides written and read, byte for byte."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from firmware_protocol.errors import ProtocolError
from firmware_protocol.noise import HandshakeState, HashFunction, KeyPair
from firmware_protocol.vectors.noise_patterns import pattern
from firmware_protocol.vectors.tally import Tally

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from firmware_protocol.noise import CipherState, Pattern

    Step = tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]

HASHES: Final = {
    function.name: function
    for function in (
        HashFunction("SHA256", "sha256", 32),
        HashFunction("SHA512", "sha512", 64),
        HashFunction("BLAKE2s", "blake2s", 32),
        HashFunction("BLAKE2b", "blake2b", 64),
    )
}
_UNUSED_EPHEMERAL: Final = KeyPair.from_private(b"\x07" * 32)
"""For a side that never speaks: its vector names none."""


def judge(vectors: list[dict[str, Any]]) -> Tally:
    """Run every vector that libsodium's primitives can."""
    tally = Tally()
    for vector in vectors:
        name = vector["protocol_name"]
        _, pattern_name, curve, cipher, hash_name = name.split("_")
        used, hash_function = pattern(pattern_name), HASHES.get(hash_name)
        if (curve, cipher) != ("25519", "ChaChaPoly"):
            tally.skipped["not 25519 with ChaChaPoly, the only primitives of the protocol"] += 1
        elif hash_function is None:
            tally.skipped[f"hash {hash_name}"] += 1
        elif used is None:
            tally.skipped["a deferred pattern: neither a fundamental one nor one with psk modifiers"] += 1
        elif len(set(vector.get("init_psks", ()))) > 1:
            tally.skipped["several different pre-shared keys in one handshake; Noise §9 has one"] += 1
        else:
            tally.judge(name, is_right=_comes_out(vector, used, hash_function))
    return tally


def _comes_out(vector: dict[str, Any], used: Pattern, hash_function: HashFunction) -> bool:
    try:
        initiator, responder = (_side(vector, prefix, used, hash_function) for prefix in ("init", "resp"))
        steps = _steps(initiator, responder, is_one_way=len(used.messages) == 1)
        for message, (write, read) in zip(vector["messages"], steps, strict=False):
            payload, ciphertext = bytes.fromhex(message["payload"]), bytes.fromhex(message["ciphertext"])
            if write(payload) != ciphertext or read(ciphertext) != payload:
                return False
        hashes = {initiator.handshake_hash.hex(), responder.handshake_hash.hex()}
    except ProtocolError:
        return False
    return hashes == {vector.get("handshake_hash", min(hashes))}


def _side(vector: dict[str, Any], prefix: str, used: Pattern, hash_function: HashFunction) -> HandshakeState:
    private = {name: vector.get(f"{prefix}_{name}") for name in ("static", "ephemeral")}
    pairs = {name: KeyPair.from_private(bytes.fromhex(text)) for name, text in private.items() if text is not None}
    remote, psks = vector.get(f"{prefix}_remote_static"), vector.get(f"{prefix}_psks")
    return HandshakeState(
        used,
        initiator=prefix == "init",
        prologue=bytes.fromhex(vector[f"{prefix}_prologue"]),
        s=pairs.get("static"),
        e=pairs.get("ephemeral", _UNUSED_EPHEMERAL),
        rs=None if remote is None else bytes.fromhex(remote),
        psk=bytes.fromhex(psks[0]) if psks else None,
        hash_function=hash_function,
    )


def _steps(initiator: HandshakeState, responder: HandshakeState, *, is_one_way: bool) -> Iterator[Step]:
    """Yield how each message is written and read: the handshake's first, then the transport's."""
    writer, reader = initiator, responder
    while not initiator.finished:
        yield writer.write_message, reader.read_message
        writer, reader = reader, writer
    (out, back), (far_in, far_out) = initiator.split(), responder.split()
    is_initiators_turn = is_one_way or writer is initiator
    while True:
        yield _carried(out, far_in) if is_initiators_turn else _carried(far_out, back)
        is_initiators_turn = is_one_way or not is_initiators_turn


def _carried(sending: CipherState, receiving: CipherState) -> Step:
    return lambda text: sending.encrypt(b"", text), lambda sealed: receiving.decrypt(b"", sealed)
