"""`gatewayd log`: the journal, proved whole or not."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from gatewayd import exits
from gatewayd.cli.log_keys import keys_of
from gatewayd.cli.say import DEFAULT_CONFIG, give, give_json, tell, tell_error, tell_problems
from gatewayd.config.loader import load_folders
from gatewayd.config.problems import ConfigError, ConfigProblem, Place
from gatewayd.config.roots import read_roots
from gatewayd.config.values import STORE_NAME
from gatewayd.control.client import ControlClient
from gatewayd.control.messages import ControlCode, ControlError
from gatewayd.errors import GatewayError
from gatewayd.journal.verification import verify_log
from gatewayd.store.inspection import read_trust_file
from gatewayd.store.log import read_log

if TYPE_CHECKING:
    from gatewayd.config.values import Folders
    from gatewayd.journal.copies import LogCopy
    from gatewayd.journal.verification import Verification
    from gatewayd.store.inspection import StoredTrust


def verify(
    *,
    config: Path = DEFAULT_CONFIG,
    source: Annotated[Path | None, Parameter(name="--from")] = None,
    json: bool = False,
) -> int:
    """Check that no entry of the journal was changed, left out or added, and that every signature holds.

    Asks the running daemon, or else reads its store. Exits 0 where the journal is whole, 1 where it is not.

    Args:
        config: The configuration file, which says where the journal and the pinned root keys are.
        source: A store, or the folder that holds one, in place of this gateway's.
        json: Print the result for machines.
    """
    try:
        folders = _folders(config, needed=source is None)
        roots: list[ConfigProblem] = []
        pinned = () if folders is None else tuple(read_roots(folders.trust_directory, Place(str(config)), roots))
        with ExitStack() as stack:
            copy, trust = _open(folders, source, stack)
            keys, unchecked = keys_of(trust, pinned)
            result = verify_log(copy, keys=keys)
    except ConfigError as error:
        tell_problems(error)
        return exits.CONFIG
    except GatewayError as error:
        tell_error(error)
        return exits.FAILED
    _report(result, unchecked, as_json=json)
    return exits.OK if result.is_whole else exits.FAILED


def _folders(config: Path, *, needed: bool) -> Folders | None:
    try:
        return load_folders(config)
    except ConfigError:
        if needed:
            raise
        return None


def _open(folders: Folders | None, source: Path | None, stack: ExitStack) -> tuple[LogCopy, StoredTrust]:
    if source is None and folders is not None:
        try:
            client = stack.enter_context(ControlClient(folders.control_path))
        except ControlError as error:
            if error.code != ControlCode.UNREACHABLE:
                raise
            source = folders.store_path
        else:
            return client.log(), client.trust()
    path = Path() if source is None else source
    file = path / STORE_NAME if path.is_dir() else path
    trust = read_trust_file(file)  # first: the copy keeps its connection while it is read
    return read_log(file), trust


def _report(result: Verification, unchecked: str | None, *, as_json: bool) -> None:
    if as_json:
        give_json(_document(result, unchecked))
        return
    if unchecked is not None:
        tell(f"gatewayd: {unchecked}")
    give("\n".join([*result.problems, _summary(result)]))


def _summary(result: Verification) -> str:
    verdict = "whole" if result.is_whole else f"NOT whole: {result.problem_count} problems"
    return (
        f"{verdict}; {result.entry_count} of {result.size} entries here, {result.checkpoint_count} checkpoints, "
        f"{result.receipt_count} receipts, {result.lock_record_count} lock records, root {result.root.hex()}"
    )


def _document(result: Verification, unchecked: str | None) -> dict[str, Any]:
    return {
        "whole": result.is_whole,
        "problems": list(result.problems),
        "problem_count": result.problem_count,
        "unchecked": unchecked,
        "size": result.size,
        "root": result.root.hex(),
        "entry_count": result.entry_count,
        "checkpoint_count": result.checkpoint_count,
        "receipt_count": result.receipt_count,
        "lock_record_count": result.lock_record_count,
    }
