"""Which language a person is spoken to in; keys and codes are the same in each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from firmware_protocol.sentences import Language

if TYPE_CHECKING:
    from collections.abc import Mapping


def language_of(environ: Mapping[str, str]) -> Language:
    """Return the language of the locale (POSIX: LC_ALL before LC_MESSAGES before LANG), else English."""
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        if value := environ.get(name):
            return Language.SWEDISH if value.lower().startswith("sv") else Language.ENGLISH
    return Language.ENGLISH
