"""The Noise protocol framework, revision 34: 25519, ChaChaPoly and a hash (docs/protocol.md §8).

A pattern is data, so the patterns of the protocol (KK for the link, NK for phones, XXpsk3 for
pairing) are rows of a table and published vectors can bring their own. The primitives are
libsodium's; ephemeral keys are drawn by the caller, so that nothing here is random. Each failure that a
peer can cause is one and the same DENIED: which of the keys was wrong is nobody's business.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from enum import StrEnum, unique
from typing import TYPE_CHECKING, Final, Self

import nacl.exceptions
from nacl import bindings

from firmware_protocol.codes import Code
from firmware_protocol.errors import LocalProtocolError, RemoteProtocolError

if TYPE_CHECKING:
    from collections.abc import Sequence

DH_SIZE: Final = 32
"""Length of X25519 keys and shared secrets, in bytes."""
PSK_SIZE: Final = 32
TAG_SIZE: Final = 16
"""What encryption adds, in bytes."""
NOISE_MESSAGE_SIZE_MAX: Final = 65_535
"""Longest Noise message, in bytes (Noise §3)."""
NONCE_MAX: Final = 2**64 - 1
"""Never used for a message: Noise §5.1 reserves it."""

_CIPHER_KEY_SIZE: Final = 32


@unique
class Token(StrEnum):
    """What a handshake message is made of (Noise §5.3 and §9)."""

    E = "e"
    S = "s"
    EE = "ee"
    ES = "es"
    SE = "se"
    SS = "ss"
    PSK = "psk"


@dataclass(frozen=True, slots=True)
class Pattern:
    """A handshake pattern; the psk modifier in its name is where its messages have `Token.PSK`."""

    name: str
    messages: tuple[tuple[Token, ...], ...]
    """The initiator writes the first, and then each side in turn."""
    pre_initiator: bool = False
    """Whether the responder knows the initiator's static key beforehand."""
    pre_responder: bool = False
    """Whether the initiator knows the responder's static key beforehand."""

    @property
    def uses_psk(self) -> bool:
        """Whether a pre-shared key takes part."""
        return any(Token.PSK in message for message in self.messages)


KK: Final = Pattern(
    "KK", ((Token.E, Token.ES, Token.SS), (Token.E, Token.EE, Token.SE)), pre_initiator=True, pre_responder=True
)
"""Gateway to lock: both know the other's key from pairing."""
NK: Final = Pattern("NK", ((Token.E, Token.ES), (Token.E, Token.EE)), pre_responder=True)
"""Phone to whoever decides: the phone proves itself with what it signed, not with a link key."""
XXPSK3: Final = Pattern("XXpsk3", ((Token.E,), (Token.E, Token.EE, Token.S, Token.ES), (Token.S, Token.SE, Token.PSK)))
"""Pairing: neither knows the other's key; the secret on the lock's label joins them."""


@dataclass(frozen=True, slots=True)
class HashFunction:
    """A hash by its name in Noise, its name in hashlib, and its size in bytes."""

    name: str
    hashlib_name: str
    size: int

    def digest(self, data: bytes) -> bytes:
        """Return the hash of `data`."""
        return hashlib.new(self.hashlib_name, data).digest()

    def hkdf(self, chaining_key: bytes, input_key: bytes, *, count: int) -> Sequence[bytes]:
        """Return `count` keys of `size` bytes each (Noise §4.3, RFC 5869)."""
        secret = hmac.digest(chaining_key, input_key, self.hashlib_name)
        keys = [b""]
        for number in range(1, count + 1):
            keys.append(hmac.digest(secret, keys[-1] + bytes([number]), self.hashlib_name))
        return keys[1:]


SHA256: Final = HashFunction("SHA256", "sha256", 32)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyPair:
    """An X25519 key pair, 32 bytes each."""

    private: bytes = field(repr=False)
    public: bytes

    @classmethod
    def from_private(cls, private: bytes) -> Self:
        """Return the pair with this private key.

        Raises:
            LocalProtocolError: not 32 bytes.
        """
        public = bindings.crypto_scalarmult_base(_sized(private, DH_SIZE, "X25519 private key"))
        return cls(private=private, public=public)


class CipherState:
    """One direction of an encrypted channel: a key and a counter that only grows."""

    def __init__(self, key: bytes, n: int = 0) -> None:
        """Start at counter `n` with a key of 32 bytes."""
        self._key = _sized(key, _CIPHER_KEY_SIZE, "cipher key")
        self._n = n

    @property
    def n(self) -> int:
        """Counter of the next message: how many have gone through."""
        return self._n

    def encrypt(self, ad: bytes, plaintext: bytes) -> bytes:
        """Return the ciphertext, 16 bytes longer; `ad` is authenticated and not sent.

        Raises:
            LocalProtocolError: the counter is used up, or the message too long.
        """
        nonce = self._nonce()
        if len(plaintext) > NOISE_MESSAGE_SIZE_MAX - TAG_SIZE:
            raise LocalProtocolError(f"{len(plaintext)} bytes are too long for a Noise message")
        ciphertext = bindings.crypto_aead_chacha20poly1305_ietf_encrypt(plaintext, ad, nonce, self._key)
        self._n += 1
        return ciphertext

    def decrypt(self, ad: bytes, ciphertext: bytes) -> bytes:
        """Return the plaintext; the counter stays where it was unless it is authentic.

        Raises:
            RemoteProtocolError: DENIED: not the next message of this channel.
            LocalProtocolError: the counter is used up.
        """
        nonce = self._nonce()
        if not TAG_SIZE <= len(ciphertext) <= NOISE_MESSAGE_SIZE_MAX:
            raise _denied("Noise message too short or too long")
        try:
            plaintext = bindings.crypto_aead_chacha20poly1305_ietf_decrypt(ciphertext, ad, nonce, self._key)
        except nacl.exceptions.CryptoError as error:
            raise _denied("Noise message is not authentic") from error
        self._n += 1
        return plaintext

    def _nonce(self) -> bytes:
        if self._n >= NONCE_MAX:
            raise LocalProtocolError("the counter of this channel is used up")
        return bytes(4) + self._n.to_bytes(8, "little")


class _SymmetricState:
    """The running hash and chaining key of a handshake (Noise §5.2)."""

    def __init__(self, protocol_name: bytes, hash_function: HashFunction) -> None:
        self._hash = hash_function
        is_short = len(protocol_name) <= hash_function.size
        self.h = protocol_name.ljust(hash_function.size, b"\0") if is_short else hash_function.digest(protocol_name)
        self._chaining_key = self.h
        self._cipher: CipherState | None = None

    @property
    def is_keyed(self) -> bool:
        """Whether what follows is encrypted."""
        return self._cipher is not None

    def mix_key(self, input_key: bytes) -> None:
        self._chaining_key, key = self._hash.hkdf(self._chaining_key, input_key, count=2)
        self._cipher = CipherState(key[:_CIPHER_KEY_SIZE])

    def mix_hash(self, data: bytes) -> None:
        self.h = self._hash.digest(self.h + data)

    def mix_key_and_hash(self, input_key: bytes) -> None:
        self._chaining_key, hashed, key = self._hash.hkdf(self._chaining_key, input_key, count=3)
        self.mix_hash(hashed)
        self._cipher = CipherState(key[:_CIPHER_KEY_SIZE])

    def encrypt_and_hash(self, plaintext: bytes) -> bytes:
        ciphertext = plaintext if self._cipher is None else self._cipher.encrypt(self.h, plaintext)
        self.mix_hash(ciphertext)
        return ciphertext

    def decrypt_and_hash(self, ciphertext: bytes) -> bytes:
        plaintext = ciphertext if self._cipher is None else self._cipher.decrypt(self.h, ciphertext)
        self.mix_hash(ciphertext)
        return plaintext

    def split(self) -> tuple[CipherState, CipherState]:
        first, second = self._hash.hkdf(self._chaining_key, b"", count=2)
        return CipherState(first[:_CIPHER_KEY_SIZE]), CipherState(second[:_CIPHER_KEY_SIZE])


class HandshakeState:
    """One side of a handshake. After an error it is dead: a handshake starts anew, never in the middle."""

    def __init__(  # noqa: PLR0913 - the inputs that Noise §5.3 names
        self,
        pattern: Pattern,
        *,
        initiator: bool,
        prologue: bytes,
        s: KeyPair | None,
        e: KeyPair,
        rs: bytes | None,
        psk: bytes | None,
        hash_function: HashFunction = SHA256,
    ) -> None:
        """Begin with own keys `s` and `e` (fresh, used once), the peer's `rs`, and `psk`, as the pattern needs them.

        `prologue` is what both sides must have seen alike before.

        Raises:
            LocalProtocolError: a key that the pattern needs is missing, or one is given that it does not use.
        """
        knows_peer = pattern.pre_responder if initiator else pattern.pre_initiator
        is_known = pattern.pre_initiator if initiator else pattern.pre_responder
        sends_static = any(Token.S in message for message in pattern.messages[0 if initiator else 1 :: 2])
        _check_given(s, "own static key", needed=is_known or sends_static)
        _check_given(rs, "the peer's static key", needed=knows_peer)
        _check_given(psk, "pre-shared key", needed=pattern.uses_psk)
        self._own = {Token.E: e} if s is None else {Token.E: e, Token.S: s}
        self._peer = {} if rs is None else {Token.S: _sized(rs, DH_SIZE, "X25519 public key")}
        self._psk = b"" if psk is None else _sized(psk, PSK_SIZE, "pre-shared key")
        self._pattern = pattern
        self._is_initiator = initiator
        self._message_index = 0
        self._is_dead = False
        name = f"Noise_{pattern.name}_25519_ChaChaPoly_{hash_function.name}"
        self._symmetric = _SymmetricState(name.encode(), hash_function)
        self._symmetric.mix_hash(prologue)
        if pattern.pre_initiator:
            self._symmetric.mix_hash(self._static(own=initiator))
        if pattern.pre_responder:
            self._symmetric.mix_hash(self._static(own=not initiator))

    @property
    def finished(self) -> bool:
        """Whether every message of the pattern has gone through."""
        return self._message_index == len(self._pattern.messages)

    @property
    def remote_static(self) -> bytes | None:
        """The peer's static public key, once known; proven to be the peer's only when `finished`."""
        return self._peer.get(Token.S)

    @property
    def handshake_hash(self) -> bytes:
        """What names this handshake alike on both sides and nowhere else (Noise §11.2).

        Raises:
            LocalProtocolError: the handshake is not finished.
        """
        self._refuse_unfinished()
        return self._symmetric.h

    def split(self) -> tuple[CipherState, CipherState]:
        """Return the two directions, initiator to responder first; only once, for a counter must not start twice.

        Raises:
            LocalProtocolError: the handshake is not finished, or was split before.
        """
        self._refuse_unfinished()
        if self._is_dead:
            raise LocalProtocolError("the handshake was split before")
        self._is_dead = True
        return self._symmetric.split()

    def write_message(self, payload: bytes) -> bytes:
        """Return the next handshake message, with `payload` as protected as the pattern makes it by then.

        Raises:
            LocalProtocolError: not this side's turn, a dead handshake, or too long a message.
            RemoteProtocolError: DENIED: the peer's key is one with which every secret is known.
        """
        message = b""
        for token in self._begin(writing=True):
            match token:
                case Token.E:
                    message += self._own[Token.E].public
                    self._mix_ephemeral(self._own[Token.E].public)
                case Token.S:
                    message += self._symmetric.encrypt_and_hash(self._static(own=True))
                case _:
                    self._mix_secret(token)
        message += self._symmetric.encrypt_and_hash(payload)
        if len(message) > NOISE_MESSAGE_SIZE_MAX:
            raise LocalProtocolError(f"a Noise message of {len(message)} bytes is too long")
        self._end()
        return message

    def read_message(self, message: bytes) -> bytes:
        """Return the payload of the peer's next handshake message.

        Raises:
            RemoteProtocolError: DENIED: too short, too long, not authentic, or a key with which every secret is known.
            LocalProtocolError: not the peer's turn, or a dead handshake.
        """
        rest = message
        for token in self._begin(writing=False):
            match token:
                case Token.E:
                    self._peer[Token.E], rest = _cut(rest, DH_SIZE)
                    self._mix_ephemeral(self._peer[Token.E])
                case Token.S:
                    sent, rest = _cut(rest, DH_SIZE + (TAG_SIZE if self._symmetric.is_keyed else 0))
                    self._peer[Token.S] = self._symmetric.decrypt_and_hash(sent)
                case _:
                    self._mix_secret(token)
        if len(message) > NOISE_MESSAGE_SIZE_MAX:
            raise _denied("Noise message too short or too long")
        payload = self._symmetric.decrypt_and_hash(rest)
        self._end()
        return payload

    def _begin(self, *, writing: bool) -> tuple[Token, ...]:
        if self._is_dead or self.finished:
            raise LocalProtocolError("the handshake is over")
        is_own_turn = self._is_initiator == (self._message_index % 2 == 0)
        if is_own_turn != writing:
            raise LocalProtocolError("it is the other side's turn")
        self._is_dead = True  # until `_end`: an attacker has one try, and no half-mixed state lives on
        return self._pattern.messages[self._message_index]

    def _end(self) -> None:
        self._is_dead = False
        self._message_index += 1

    def _mix_ephemeral(self, public: bytes) -> None:
        self._symmetric.mix_hash(public)
        if self._pattern.uses_psk:  # Noise §9.2: a psk alone must not repeat a key from one handshake to the next
            self._symmetric.mix_key(public)

    def _mix_secret(self, token: Token) -> None:
        if token is Token.PSK:
            self._symmetric.mix_key_and_hash(self._psk)
        else:
            self._symmetric.mix_key(self._dh(token))

    def _dh(self, token: Token) -> bytes:
        """Return the shared secret that a two-letter token names: the initiator's key, then the responder's."""
        letters = token if self._is_initiator else token[::-1]
        own, peer = self._own.get(Token(letters[0])), self._peer.get(Token(letters[1]))
        if own is None or peer is None:
            raise LocalProtocolError(f"pattern {self._pattern.name} has {token} before both keys are known")
        try:
            return bindings.crypto_scalarmult(own.private, peer)
        except nacl.exceptions.RuntimeError as error:  # libsodium's answer to an all-zero result
            raise _denied("X25519 key of low order") from error

    def _static(self, *, own: bool) -> bytes:
        return self._own[Token.S].public if own else self._peer[Token.S]

    def _refuse_unfinished(self) -> None:
        if not self.finished:
            raise LocalProtocolError("the handshake is not finished")


def _cut(data: bytes, size: int) -> tuple[bytes, bytes]:
    if len(data) < size:
        raise _denied("Noise message too short or too long")
    return data[:size], data[size:]


def _sized(key: bytes, size: int, what: str) -> bytes:
    """Return `key`, which must be `size` bytes long: libsodium's bindings read past the end of a shorter one."""
    if len(key) != size:
        raise LocalProtocolError(f"{what} of {len(key)} bytes, {size} expected")
    return key


def _check_given(key: object, what: str, *, needed: bool) -> None:
    if (key is not None) != needed:
        raise LocalProtocolError(f"the pattern {'needs' if needed else 'does not use'} {what}")


def _denied(detail: str) -> RemoteProtocolError:
    return RemoteProtocolError(Code.DENIED, detail)
