"""Whose fault it was: ours (`LocalProtocolError`) or the other party's (`RemoteProtocolError`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from firmware_protocol.codes import Code


class ProtocolError(Exception):
    """Base of every error that this package raises."""


class LocalProtocolError(ProtocolError):
    """This side asked for something that the protocol does not allow: a bug here, not an attack."""


class RemoteProtocolError(ProtocolError):
    """The other side sent something that the protocol does not allow.

    The remedy on a link is always the same: drop it. `code` is the row of `codes.Code` that an
    authenticated peer may be told; `detail` is for the log and holds no secret and no raw input.
    """

    def __init__(self, code: Code, detail: str) -> None:
        super().__init__(f"{code.dotted}: {detail}")
        self.code = code
        self.detail = detail
