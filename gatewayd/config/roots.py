"""The pinned root keys: the one thing that a gateway trusts before anybody has signed anything."""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING, Final

from nacl import bindings

from firmware_protocol.chains import ROOT_THRESHOLD
from gatewayd.config.files import WRITTEN_BY_OTHERS, FileProblem, read_file
from gatewayd.config.keys import KEY_FILE_SIZE_MAX, read_key_text
from gatewayd.config.problems import ConfigProblem, Place

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ROOT_COUNT_MAX: Final = 16
_KEY: Final = "gateway.trust_directory"


def read_roots(folder: Path, where: Place, problems: list[ConfigProblem]) -> dict[bytes, Place]:
    """Return the root keys in `*.pub` of `folder`, 32 bytes each, and where each stands.

    Blank lines and lines that begin with `#` mean nothing. Problems go to `problems`.
    """
    roots: dict[bytes, Place] = {}
    before = len(problems)
    try:
        files = sorted(file for file in folder.iterdir() if file.suffix == ".pub")
    except OSError as error:
        hint = "put the administrator's root keys there, one a line, in files named *.pub"
        problems.append(ConfigProblem(where, _KEY, f"{folder} cannot be listed: {error.strerror}", hint))
        return {}
    for file in files:
        _take_file(file, roots, problems)
    if len(problems) == before and not ROOT_THRESHOLD <= len(roots) <= ROOT_COUNT_MAX:
        found = f"{folder} has {len(roots)} root key{'' if len(roots) == 1 else 's'} in *.pub files"
        hint = f"at least {ROOT_THRESHOLD} must be pinned, because so many sign what this gateway trusts"
        problems.append(ConfigProblem(where, _KEY, found, hint if len(roots) < ROOT_THRESHOLD else "at most 16"))
    return roots


def _take_file(file: Path, roots: dict[bytes, Place], problems: list[ConfigProblem]) -> None:
    try:
        content = read_file(file, size_max=KEY_FILE_SIZE_MAX, forbidden_mode=WRITTEN_BY_OTHERS)
    except FileProblem as problem:
        problems.append(ConfigProblem(Place(str(file)), _KEY, problem.problem, problem.hint))
        return
    for line, text in _lines(content):
        place = Place(str(file), line)
        try:
            _take_key(read_key_text(text), place, roots)
        except ValueError as error:
            problems.append(ConfigProblem(place, _KEY, str(error), "an Ed25519 public key, hex or base64"))


def _lines(content: bytes) -> Iterator[tuple[int, bytes]]:
    for number, line in enumerate(content.removeprefix(codecs.BOM_UTF8).splitlines(), start=1):
        if line.strip() and not line.lstrip().startswith(b"#"):
            yield number, line.strip()


def _take_key(key: bytes, place: Place, roots: dict[bytes, Place]) -> None:
    if not bindings.crypto_core_ed25519_is_valid_point(key):
        raise ValueError("is no Ed25519 public key")
    if key in roots:
        # Counted twice, one holder could sign for two.
        raise ValueError(f"is the same key as in {roots[key]}")
    roots[key] = place
