"""`gatewayd log report` and `gatewayd log erase`: what the journal says of people, for the people concerned."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from gatewayd import exits
from gatewayd.cli.log_source import guarded, open_log
from gatewayd.cli.say import DEFAULT_CONFIG, give, give_json, tell
from gatewayd.config.loader import load, load_folders
from gatewayd.control.client import ControlClient
from gatewayd.control.messages import ControlCode, ControlError
from gatewayd.journal.events import LogErased, TimeStamp
from gatewayd.journal.people import look_for
from gatewayd.store import erasure, meta
from gatewayd.store.database import Database
from gatewayd.store.log import load_journal, read_log
from gatewayd.system_clock import SystemEntropy

if TYPE_CHECKING:
    from gatewayd.config.values import Config
    from gatewayd.journal.people import Visit
    from gatewayd.store.erasure import Erased
    from gatewayd.store.store import Transaction

SALT_SIZE = 16

Source = Annotated[Path | None, Parameter(name="--from")]


def report(
    *, subject: str | None = None, config: Path = DEFAULT_CONFIG, source: Source = None, json: bool = False
) -> int:
    """Say who was here: each command, when, by whom, at which lock, and how it went.

    For the people concerned: who lives here may know who came; with `--subject` anybody may know what is kept about
    them. People are named by the pseudonyms that their providers know.

    Args:
        subject: Only what was done by whoever has this pseudonym.
        config: The configuration file, which says where the journal is.
        source: A store, the folder that holds one, or an exported file, in place of this gateway's.
        json: Print it for machines.
    """

    def work() -> int:
        with open_log(config, source) as opened:
            found = look_for(opened.copy.leaves, subject)
        if json:
            give_json({"visits": [asdict(visit) for visit in found.visits], "entry_count": len(found.indexes)})
            return exits.OK
        for visit in found.visits:
            give(_line(visit))
        tell(f"gatewayd: {len(found.visits)} commands, {len(found.indexes)} entries that tell of them")
        return exits.OK

    return guarded(work)


def erase(*, subject: str, config: Path = DEFAULT_CONFIG) -> int:
    """Erase what the journal on this gateway says of a person; every proof over the rest of it still holds.

    Asks the running daemon, or else works on its store, which is then written anew. Only entries that the central log
    has signed for are erased: it keeps its own copy, and erases by its own rules. That something was erased is an entry
    of its own, without the name.

    Args:
        subject: The pseudonym.
        config: The configuration file of the gateway.
    """

    def work() -> int:
        erased = _erase(config, subject)
        give(f"{erased.count} entries erased")
        if erased.waiting_count:
            tell(f"gatewayd: {erased.waiting_count} entries wait for the central log's receipt; erase again after it")
        return exits.FAILED if erased.waiting_count else exits.OK

    return guarded(work)


def _erase(config: Path, subject: str) -> Erased:
    try:
        client = ControlClient(load_folders(config).control_path)
    except ControlError as error:
        if error.code != ControlCode.UNREACHABLE:
            raise
        return _erase_stopped(load(config), subject)
    with client:
        return client.erase(look_for(client.log().leaves, subject).indexes)


def _erase_stopped(config: Config, subject: str) -> Erased:
    copy = read_log(config.store_path)
    indexes = look_for(copy.leaves, subject).indexes
    database = Database(config.store_path)

    def work(tx: Transaction) -> Erased:
        erased = erasure.erase_entries(tx, indexes)
        if erased.count:
            journal, stored = load_journal(tx, gateway_id=config.identity().gateway_id), meta.load_time(tx)
            stamp = TimeStamp(lo_ms=0 if stored is None else stored.floor_ms, hi_ms=None)
            event = LogErased(entry_count=erased.count)
            journal.append(tx, event, time=stamp, salt=SystemEntropy().token(SALT_SIZE))
        return erased

    try:
        erased = database.run(work)
        database.compact()
        return erased
    finally:
        database.close()


def _line(visit: Visit) -> str:
    until = "" if visit.time_hi is None else f" to {visit.time_hi}"
    by = visit.subject if visit.provider is None else f"{visit.subject} of {visit.provider}"
    outcome = "" if visit.outcome is None else f", {visit.outcome}"
    return f"{visit.time_lo}{until} {visit.action} lock {visit.lock_id} by {visit.role} {by}: {visit.code}{outcome}"
