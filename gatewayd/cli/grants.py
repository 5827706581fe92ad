"""`gatewayd grants`: who may open without internet, and which revocations this home has."""

from __future__ import annotations

from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path  # noqa: TC003 - the command line's parser reads annotations
from typing import TYPE_CHECKING, Final

from gatewayd import exits
from gatewayd.cli.say import DEFAULT_CONFIG, give, give_json, tell_error, tell_problems
from gatewayd.config.loader import load_folders
from gatewayd.config.problems import ConfigError
from gatewayd.control.client import ControlClient
from gatewayd.control.messages import ControlError
from gatewayd.plain_text import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gatewayd.control.grants_wire import DriftDocument, GrantLine

MASK: Final = "***"


def list_(
    *, config: Path = DEFAULT_CONFIG, socket: Path | None = None, reveal: bool = False, json: bool = False
) -> int:
    """List the grants that are kept for use without internet. Holders are masked unless asked for.

    Exits 0 where the daemon answered, 1 where it did not, 78 where the configuration cannot be read.

    Args:
        config: The configuration file, which says where the daemon's socket is.
        socket: The daemon's socket, in place of what the configuration says.
        reveal: Show the pseudonyms and key ids of the holders.
        json: Print a list for machines.
    """

    def show(client: ControlClient) -> None:
        lines = [line if reveal else _masked(line) for line in client.grants()]
        if json:
            give_json([_as_json(line) for line in lines])
        elif lines:
            give("\n".join(printable(_grant_text(line)) for line in lines))
        else:
            give("no grants are kept")

    return _ask(config, socket, show)


def drift(*, config: Path = DEFAULT_CONFIG, socket: Path | None = None, json: bool = False) -> int:
    """Say which revocations are in force here, and how current they are.

    Exits 0 where they are current, 1 where they are not or the daemon did not answer, 78 where the configuration cannot
    be read.

    Args:
        config: The configuration file, which says where the daemon's socket is.
        socket: The daemon's socket, in place of what the configuration says.
        json: Print the document as the daemon gave it.
    """
    found: list[DriftDocument] = []

    def show(client: ControlClient) -> None:
        document = client.drift()
        found.append(document)
        if json:
            give_json(document.to_json())
        else:
            give("\n".join(map(printable, _drift_text(document))))

    code = _ask(config, socket, show)
    if code == exits.OK and found[0].tier != "fresh":
        return exits.FAILED
    return code


def _ask(config: Path, socket: Path | None, show: Callable[[ControlClient], None]) -> int:
    try:
        with ControlClient(load_folders(config).control_path if socket is None else socket) as client:
            show(client)
    except ConfigError as error:
        tell_problems(error)
        return exits.CONFIG
    except ControlError as error:
        tell_error(error)
        return exits.FAILED
    return exits.OK


def _masked(line: GrantLine) -> GrantLine:
    return replace(line, subject=MASK, holder=MASK)


def _as_json(line: GrantLine) -> dict[str, object]:
    return asdict(line)


def _grant_text(line: GrantLine) -> str:
    uses = "" if line.use_count_max is None else f", {line.use_count} of {line.use_count_max} uses"
    revoked = ", REVOKED" if line.revoked else ""
    return (
        f"{line.cti}  {line.provider}  {line.subject}  {'+'.join(line.rights)}  {line.offline_class}  "
        f"until {_moment(line.exp_s)}, {len(line.windows)} visits{uses}{revoked}"
    )


def _drift_text(document: DriftDocument) -> Iterator[str]:
    yield f"gateway     {document.gateway_id}"
    yield f"tier        {document.tier}"
    yield f"keyset      {'none' if document.keyset_version is None else document.keyset_version}"
    if document.state_seq is None or document.state_iat_s is None or document.state_due_s is None:
        yield "state       none: no revocation is known here"
    else:
        current = "" if document.state_current else ", NOT CURRENT"
        yield f"state       {document.state_keyset_version}/{document.state_seq}{current}"
        yield f"            sha256 {document.state_sha256}"
        yield f"            signed {_moment(document.state_iat_s)}, the next was due {_moment(document.state_due_s)}"
    yield from (f"revoked     key {kid}" for kid in document.revoked_kids)
    yield from (f"revoked     grant {cti}" for cti in document.revoked_ctis)
    yield from (f"revoked     {provider} before {_moment(iat_s)}" for provider, iat_s in document.provider_iat_min_s)
    yield from (
        f"authority   {each.provider}  {each.cti}  signed {_moment(each.iat_s)}, until {_moment(each.exp_s)}"
        for each in document.authorities
    )
    yield f"grants      {document.grant_count} kept"


def _moment(second: int) -> str:
    try:
        return datetime.fromtimestamp(second, tz=UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    except (OverflowError, ValueError, OSError):
        return f"second {second}"
