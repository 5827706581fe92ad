"""The root of gatewayd's own faults. A refusal is a value (`access.decide.Denied`), never one of these."""

from __future__ import annotations


class GatewayError(Exception):
    """A fault with a stable dotted code; each code is a row in docs/reference.md.

    `detail` is for people: what went wrong and where, without secrets.
    """

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail
