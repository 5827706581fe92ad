"""How a request to a lock can end other than with its answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatewayd.errors import GatewayError

if TYPE_CHECKING:
    from firmware_protocol.codes import Code


class LinkFault(GatewayError):  # noqa: N818 - a state of the world that passes, not a mistake
    """Root of what can go wrong between gateway and lock."""


class LinkLost(LinkFault):
    """The link is over: dropped, silent, or ended because its other end broke the protocol.

    For a movement it also says that nothing of it was sent.
    """


class CloneSuspected(LinkLost):
    """An authentic lock has confirmed a later session: a second holder of our key, or this store is an old copy."""


class SessionWornOut(LinkLost):
    """No fault: the session is old or nearly used up, and nothing was in flight when it was ended."""


class Relieved(LinkLost):
    """No fault: the adapter's connection is needed for another lock, and nothing was in flight when it was ended."""


class NotSent(LinkFault):
    """The time of a movement ran out, or the lock had none for us, before anything of it was sent."""


class OutcomeUnknown(LinkFault):
    """The link was lost after a movement was handed to it. Ask; never send it again."""


class RequestRefused(LinkFault):
    """The lock answered with an error."""

    def __init__(self, code: Code, *, may_have_executed: bool) -> None:
        super().__init__(code.dotted, "the lock refused a request")
        self.row = code
        self.may_have_executed = may_have_executed
