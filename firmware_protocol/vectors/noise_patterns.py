"""The fundamental handshake patterns of Noise with their psk modifiers: data for published vectors.

The package itself ships the three that the protocol uses (`noise.py`); these exist so that its engine is
held to every published vector that it could run.
"""

from __future__ import annotations

import re
from typing import Final

from firmware_protocol.noise import Pattern, Token

FUNDAMENTAL: Final = {
    "N": ("<-s", "e es"),
    "K": ("->s <-s", "e es ss"),
    "X": ("<-s", "e es s ss"),
    "NN": ("", "e, e ee"),
    "NK": ("<-s", "e es, e ee"),
    "NX": ("", "e, e ee s es"),
    "KN": ("->s", "e, e ee se"),
    "KK": ("->s <-s", "e es ss, e ee se"),
    "KX": ("->s", "e, e ee se s es"),
    "XN": ("", "e, e ee, s se"),
    "XK": ("<-s", "e es, e ee, s se"),
    "XX": ("", "e, e ee s es, s se"),
    "IN": ("", "e s, e ee se"),
    "IK": ("<-s", "e es s ss, e ee se"),
    "IX": ("", "e s, e ee se s es"),
}
"""Noise §7.4 and §7.5: what is known beforehand, then the messages."""
_NAME: Final = re.compile(r"(?P<base>[A-Z0-9]+)(?P<modifiers>psk\d(\+psk\d)*)?")


def pattern(name: str) -> Pattern | None:
    """Return the pattern of this name, "XXpsk3" for one; None where it is not a fundamental one (Noise §9)."""
    parts = _NAME.fullmatch(name)
    if parts is None or parts["base"] not in FUNDAMENTAL:
        return None
    known, written = FUNDAMENTAL[parts["base"]]
    messages = [tuple(Token(token) for token in message.split()) for message in written.split(",")]
    for place in sorted(int(modifier) for modifier in re.findall(r"\d", parts["modifiers"] or "")):
        if place > len(messages):
            return None
        if place == 0:
            messages[0] = (Token.PSK, *messages[0])
        else:
            messages[place - 1] = (*messages[place - 1], Token.PSK)
    return Pattern(name, tuple(messages), pre_initiator="->s" in known, pre_responder="<-s" in known)
