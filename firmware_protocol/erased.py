"""What stands for an entry of a journal whose words were erased (docs/protocol.md §13.10).

A central log that has lost its disk must be able to get a gateway's whole tree again. The words are gone for good;
their hash is handed over in a note that the gateway signs, or the broker on the way could put a hash in the
place of words. Whether the reader takes a hash is another matter: only under a receipt of its own.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from firmware_protocol.checkpoint import Checkpoint, sign_checkpoint, verify_checkpoint
from firmware_protocol.codes import Code
from firmware_protocol.errors import RemoteProtocolError
from firmware_protocol.merkle import TREE_SIZE_MAX

if TYPE_CHECKING:
    from nacl.signing import SigningKey

ERASED_TYPE: Final = "carelock.entry.erased"
"""CloudEvents type of what is sent in the entry's place."""
_ACCOUNTED: Final = re.compile(r"accounted (0|[1-9][0-9]{0,18})", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class ErasedEntry:
    """One entry of a log as a hash."""

    origin: str
    """Of its log, see `checkpoint.origin_of`."""
    index: int
    leaf_hash: bytes
    """32 bytes, as the tree has it."""
    accounted_size: int
    """An entry of the first so many says that it was erased."""

    def sign(self, key: SigningKey) -> bytes:
        """Return the note that the log's gateway signs: in form a checkpoint, under an origin that no log has.

        Raises:
            LocalProtocolError: numbers or a hash out of range.
        """
        name = _name(self.origin)
        line = f"accounted {self.accounted_size}"
        body = Checkpoint(origin=name, size=self.index, root=self.leaf_hash, extensions=(line,))
        return sign_checkpoint(body, key=key, name=name)

    @classmethod
    def verify(cls, data: bytes, *, origin: str, public: bytes) -> Self:
        """Return what the gateway with the key `public` (32 bytes) has signed about an entry of the log `origin`.

        Raises:
            RemoteProtocolError: BAD_SIGNATURE or MALFORMED, as `verify_checkpoint`; MALFORMED, another extension or a
                number that no log reaches.
        """
        note = verify_checkpoint(data, name=_name(origin), public=public)
        accounted = _ACCOUNTED.fullmatch("\n".join(note.extensions))
        if accounted is None or int(accounted[1]) > TREE_SIZE_MAX:
            raise RemoteProtocolError(Code.MALFORMED, "an erased entry that does not say how it is accounted for")
        return cls(origin=origin, index=note.size, leaf_hash=note.root, accounted_size=int(accounted[1]))


def _name(origin: str) -> str:
    # A gateway's checkpoints have three parts in their origin: none of these passes as one, nor the other way round.
    return f"{origin}/erased"
