"""`gatewayd explain`: why a command is permitted or refused, check by check, with nothing done."""

from __future__ import annotations

import base64
import binascii
import os
import sys
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path  # noqa: TC003 - the command line's parser reads annotations
from typing import TYPE_CHECKING, Annotated, Final, Literal

from cyclopts import Parameter

from firmware_protocol.constants import BUNDLE_SIZE_MAX
from firmware_protocol.errors import RemoteProtocolError
from firmware_protocol.sentences import Language
from gatewayd import exits
from gatewayd.cli.explain_text import explanation_text
from gatewayd.cli.language import language_of
from gatewayd.cli.say import DEFAULT_CONFIG, give, give_json, tell, tell_error, tell_problems
from gatewayd.config.loader import load_folders, load_limits
from gatewayd.config.problems import ConfigError, ConfigProblem, Place
from gatewayd.config.roots import read_roots
from gatewayd.config.values import STORE_NAME
from gatewayd.control.client import ControlClient
from gatewayd.control.messages import ControlCode, ControlError
from gatewayd.errors import GatewayError
from gatewayd.explainer import explain_stored
from gatewayd.store.database import Database, Opening

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gatewayd.control.messages import Explanation

FILE_SIZE_MAX: Final = 4_096
"""Longest file that is read: the longest bundle in base64 and room to see that it is too long."""
STDIN: Final = "-"


def explain(
    bundle: Annotated[Path, Parameter(allow_leading_hyphen=True)],
    /,
    *,
    config: Path = DEFAULT_CONFIG,
    state: Path | None = None,
    at: str | None = None,
    lang: Literal["en", "sv"] | None = None,
    json: bool = False,
) -> int:
    """Say why this command is permitted or refused: every check in order, with nothing done.

    Asks the running daemon, or else reads its store. Exits 0 where every bundle would be permitted, 1 where one
    would not or cannot be read, 78 where the configuration cannot be read.

    Args:
        bundle: A file with a bundle (bytes, or base64), a folder of such files, or - for stdin.
        config: The configuration file, which says where socket, store and pinned root keys are.
        state: A store, or the folder that holds one, in place of the running daemon.
        at: Judge rights as at this moment, such as 2027-01-15T08:00:00+01:00; freshness stays that of now.
        lang: en or sv; the locale's by default.
        json: Print a list for machines: one document a bundle.
    """
    try:
        at_s = None if at is None else _second(at)
        with _source(config, state, at_s) as ask:
            explained = [(name, ask(data)) for name, data in _bundles(bundle)]
    except ConfigError as error:
        tell_problems(error)
        return exits.CONFIG
    except GatewayError as error:
        tell_error(error)
        return exits.FAILED
    except OSError as error:
        tell(f"gatewayd: {error.filename}: {error.strerror}")
        return exits.FAILED
    except (ValueError, RemoteProtocolError) as error:
        tell(f"gatewayd: {error}")
        return exits.FAILED
    _show(explained, Language(lang) if lang else language_of(os.environ), as_json=json)
    return exits.OK if all(each.verdict == "permitted" for _, each in explained) else exits.FAILED


def _show(explained: list[tuple[str, Explanation]], language: Language, *, as_json: bool) -> None:
    if as_json:
        give_json([{"bundle": name} | each.to_json() for name, each in explained])
        return
    for name, each in explained:
        give(f"{name}: {explanation_text(each, language)}\n")


def _second(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"--at {text}: no moment; write it as 2027-01-15T08:00:00+01:00") from None
    return int((moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp())


@contextmanager
def _source(config: Path, state: Path | None, at_s: int | None) -> Iterator[Callable[[bytes], Explanation]]:
    folders = load_folders(config)
    if state is None:
        try:
            client = ControlClient(folders.control_path)
        except ControlError as error:
            if error.code != ControlCode.UNREACHABLE:
                raise
            state = folders.store_path
        else:
            with client:
                yield lambda bundle: client.explain(bundle, at_s)
            return
    problems: list[ConfigProblem] = []
    roots = tuple(read_roots(folders.trust_directory, Place(str(config)), problems))
    if problems:
        raise ConfigError(problems)
    limits = load_limits(config)
    database = Database(state / STORE_NAME if state.is_dir() else state, opening=Opening.INSPECTION)
    try:
        yield lambda bundle: database.look(lambda tx: explain_stored(tx, bundle, roots=roots, limits=limits, at_s=at_s))
    finally:
        database.close()


def _bundles(path: Path) -> Iterator[tuple[str, bytes]]:
    if str(path) == STDIN:
        yield "stdin", _decoded(sys.stdin.buffer.read(FILE_SIZE_MAX))
    elif path.is_dir():
        files = sorted(file for file in path.iterdir() if file.is_file())
        if not files:
            raise ValueError(f"{path}: no bundles are in it")
        yield from ((file.name, _read(file)) for file in files)
    else:
        yield path.name, _read(path)


def _read(file: Path) -> bytes:
    with file.open("rb") as opened:
        return _decoded(opened.read(FILE_SIZE_MAX))


def _decoded(content: bytes) -> bytes:
    """Return the bytes of a bundle that was written as text, of either base64 alphabet; else what is there.

    A bundle begins with the head of a CBOR array, which is no letter of either alphabet. Of what is too long no more is
    returned than shows that it is.
    """
    text = b"".join(content.split())
    if len(text) > BUNDLE_SIZE_MAX * 2:
        return content[: BUNDLE_SIZE_MAX + 1]
    try:
        return base64.b64decode(text.translate(bytes.maketrans(b"-_", b"+/")) + b"=" * (-len(text) % 4), validate=True)
    except binascii.Error:
        return content[: BUNDLE_SIZE_MAX + 1]
