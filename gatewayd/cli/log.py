"""`gatewayd log`: the journal, proved whole or not, read, proved to others, and taken along."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from firmware_protocol.merkle import leaf_hash
from gatewayd import exits
from gatewayd.cli.log_file import to_lines
from gatewayd.cli.log_keys import keys_of
from gatewayd.cli.log_source import guarded, open_log
from gatewayd.cli.new_file import write_new
from gatewayd.cli.say import DEFAULT_CONFIG, give, give_json, tell
from gatewayd.config.problems import ConfigProblem, Place
from gatewayd.config.roots import read_roots
from gatewayd.errors import GatewayError
from gatewayd.journal.journal import JournalError
from gatewayd.journal.proofs import ProvableTree
from gatewayd.journal.verification import verify_log

if TYPE_CHECKING:
    from gatewayd.cli.log_source import OpenLog
    from gatewayd.journal.copies import LogCopy
    from gatewayd.journal.journal import SignedCheckpoint
    from gatewayd.journal.verification import Keys, Verification

Source = Annotated[Path | None, Parameter(name="--from")]


def verify(*, config: Path = DEFAULT_CONFIG, source: Source = None, json: bool = False) -> int:
    """Check that no entry of the journal was changed, left out or added, and that every signature holds.

    Asks the running daemon, or else reads its store. Exits 0 where the journal is whole, 1 where it is not.

    Args:
        config: The configuration file, which says where the journal and the pinned root keys are.
        source: A store, the folder that holds one, or an exported file, in place of this gateway's.
        json: Print the result for machines.
    """

    def work() -> int:
        with open_log(config, source) as opened:
            keys, unchecked = _keys(config, opened)
            result = verify_log(opened.copy, keys=keys)
        _report(result, unchecked, as_json=json)
        return exits.OK if result.is_whole else exits.FAILED

    return guarded(work)


def prove(
    index: int | None = None,
    *,
    since: int | None = None,
    size: int | None = None,
    config: Path = DEFAULT_CONFIG,
    source: Source = None,
) -> int:
    """Print a proof that verifiers of RFC 6962 trees accept, as JSON: an entry stands in the journal.

    With `--since`, that the journal begins with what it was at an earlier size: nothing was changed since. The
    form is that of transparency-dev's merkle library; beside the proof stand the signed checkpoint over the tree
    and the central log's receipt, where there are any.

    Args:
        index: The entry's number, from 0.
        since: The earlier size.
        size: Size of the tree that it is proved in; absent: the newest checkpoint's that has it.
        config: The configuration file, which says where the journal is.
        source: A store, the folder that holds one, or an exported file, in place of this gateway's.
    """
    if (index is None) == (since is None):
        tell("gatewayd: name an entry, or an earlier size with --since")
        return exits.USAGE

    def work() -> int:
        with open_log(config, source) as opened:
            tree = _tree(opened.copy)
            checkpoint = _checkpoint_for(opened.copy, (index or 0) + 1 if since is None else since, size)
        wanted = size if size is not None else tree.size if checkpoint is None else checkpoint.size
        document = tree.inclusion(index, wanted) if index is not None else tree.consistency(since or 0, wanted)
        if checkpoint is None:
            tell(f"gatewayd: no checkpoint of size {wanted} is remembered: nobody has signed for this root")
        else:
            document["checkpoint"] = checkpoint.note.decode()
            document["receipt"] = None if checkpoint.receipt is None else checkpoint.receipt.decode()
        give_json(document)
        return exits.OK

    return guarded(work)


def export(file: Path | None = None, /, *, config: Path = DEFAULT_CONFIG, source: Source = None) -> int:
    """Write the whole journal as lines of JSON: entries, checkpoints, receipts, and the objects that name its keys.

    `gatewayd log verify --from FILE` checks it anywhere. An existing file is not overwritten; what is written can be
    read by its owner only, because it names people by their pseudonyms.

    Args:
        file: Where to; absent: stdout.
        config: The configuration file, which says where the journal is.
        source: A store, or the folder that holds one, in place of this gateway's.
    """

    def work() -> int:
        with open_log(config, source) as opened:
            lines = to_lines(opened.copy, opened.trust)
            if file is None:
                for line in lines:
                    give(line)
                return exits.OK
            try:
                write_new(file, (f"{line}\n".encode() for line in lines))
            except OSError as error:
                raise GatewayError("log.not_written", f"{file}: {error.strerror}") from error
        tell(f"gatewayd: {file}: {opened.copy.size} entries; gatewayd log verify --from {file} checks it")
        return exits.OK

    return guarded(work)


def _keys(config: Path, opened: OpenLog) -> tuple[Keys, str | None]:
    problems: list[ConfigProblem] = []
    folders = opened.folders
    pinned = () if folders is None else tuple(read_roots(folders.trust_directory, Place(str(config)), problems))
    return keys_of(opened.trust, pinned)


def _tree(copy: LogCopy) -> ProvableTree:
    hashes: list[bytes] = []
    for each in copy.leaves:
        if each.index != copy.before.size + len(hashes):
            raise JournalError("journal.incomplete", f"entry {copy.before.size + len(hashes)} is missing")
        hashes.append(each.hashed or leaf_hash(each.leaf))
    return ProvableTree(copy.before, hashes)


def _checkpoint_for(copy: LogCopy, size_min: int, size: int | None) -> SignedCheckpoint | None:
    """Return the newest checkpoint that serves; one with a receipt before one without."""
    fitting = [each for each in copy.checkpoints if (each.size >= size_min if size is None else each.size == size)]
    received = [each for each in fitting if each.receipt is not None]
    return max(received or fitting, key=lambda each: each.size, default=None)


def _report(result: Verification, unchecked: str | None, *, as_json: bool) -> None:
    if as_json:
        give_json(_document(result, unchecked))
        return
    if unchecked is not None:
        tell(f"gatewayd: {unchecked}")
    give("\n".join([*result.problems, _summary(result)]))


def _summary(result: Verification) -> str:
    erased = f"{result.erased_count} erased, " if result.erased_count else ""
    verdict = "whole" if result.is_whole else f"NOT whole: {result.problem_count} problems"
    return (
        f"{verdict}; {result.entry_count} of {result.size} entries here, {result.checkpoint_count} checkpoints, "
        f"{result.receipt_count} receipts, {result.lock_record_count} lock records, {erased}root {result.root.hex()}"
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
        "erased_count": result.erased_count,
    }
