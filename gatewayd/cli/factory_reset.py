"""`gatewayd factory-reset`: this unit forgets who it was, so that it can go to another home."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path  # noqa: TC003 - the command line's parser reads annotations
from typing import TYPE_CHECKING, Final

from gatewayd import exits
from gatewayd.cli.ask import NobodyAnswersError, ask
from gatewayd.cli.say import DEFAULT_CONFIG, STOP_FIRST, give, give_json, tell, tell_error, tell_problems
from gatewayd.config.loader import load_folders, load_secret_places
from gatewayd.config.problems import ConfigError
from gatewayd.store.database import Database
from gatewayd.store.inspection import read_header
from gatewayd.store.locks import load_lock_homes
from gatewayd.store.store import StoreCode, StoreError
from gatewayd.store.wiping import wipe_files, wipe_store

if TYPE_CHECKING:
    from gatewayd.config.values import Folders, SecretPlaces
    from gatewayd.store.database import Transaction

WORD: Final = "WIPE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What a wipe would take from somebody."""

    lock_ids: tuple[str, ...] = ()
    """Locks that are this gateway's."""
    waiting_count: int = 0
    """Entries of the journal that the central log has not signed for."""
    unreadable: str | None = None
    """Why nobody can tell."""


def factory_reset(
    *,
    yes: bool = False,
    abandon_locks: bool = False,
    abandon_log: bool = False,
    config: Path = DEFAULT_CONFIG,
    json: bool = False,
) -> int:
    """Wipe this unit's keys, passwords and store, so that it can go to another home.

    The daemon must be stopped. Locks that are still this gateway's are to be let go before (`gatewayd decommission`),
    and what it has written is to have reached the central log. The configuration and the pinned root keys stay: they
    are no secrets. Interrupted anywhere, the same command goes on.

    Args:
        yes: Do not ask.
        abandon_locks: Wipe although locks are still this gateway's. From then on it opens none of them; each opens by
            its key, its knob and, as long as it can decide alone, by phones; to be served again it needs a new pairing
            order and a press of its install button.
        abandon_log: Wipe although the central log has not signed for everything. What it has not is lost for good.
        config: The configuration file of the gateway.
        json: Print the result for machines.
    """
    try:
        folders, places = load_folders(config), load_secret_places(config)
    except ConfigError as error:
        tell_problems(error)
        return exits.CONFIG
    try:
        held = _held(folders.store_path)
        if problems := _problems(held, abandon_locks=abandon_locks, abandon_log=abandon_log):
            tell("\n".join(f"gatewayd: {problem}" for problem in problems))
            return exits.FAILED
        goes_on = not places.identity_key.exists()
        if not (yes or _agrees(folders, held)):
            tell("gatewayd: nothing was wiped")
            return exits.FAILED
        return _wipe(folders, places, held, goes_on=goes_on, as_json=json)
    except NobodyAnswersError as error:
        tell(f"gatewayd: {error.detail}; nothing was wiped")
    except StoreError as error:
        tell(STOP_FIRST) if error.code == StoreCode.LOCKED else tell_error(error)
    except OSError as error:
        tell(f"gatewayd: {error.filename or folders.store_path}: {error.strerror}; run the same command again as root")
    return exits.FAILED


def _held(store_path: Path) -> Held:
    """Return what stands in the store; nothing where there is none, as after an interrupted wipe.

    Raises:
        StoreError: LOCKED, a daemon runs.
    """
    if not store_path.exists():
        return Held()

    def look(tx: Transaction) -> Held:
        header = read_header(tx)
        homes = load_lock_homes(tx)
        return Held(lock_ids=tuple(home.lock_id.hex() for home in homes), waiting_count=header.size - header.received)

    try:
        database = Database(store_path)
        try:
            return database.look(look)
        finally:
            database.close()
    except StoreError as error:
        if error.code == StoreCode.LOCKED:
            raise
        return Held(unreadable=error.detail)


def _problems(held: Held, *, abandon_locks: bool, abandon_log: bool) -> list[str]:
    problems = []
    if held.lock_ids and not abandon_locks:
        ids = ", ".join(held.lock_ids)
        problems.append(
            f"still this gateway's: {ids}; let each go first with gatewayd decommission. With --abandon-locks nobody "
            "serves them until they are paired anew with their install button"
        )
    if held.waiting_count and not abandon_log:
        problems.append(
            f"the central log lacks {_entries(held.waiting_count)}: start the daemon with internet and wait "
            "until gatewayd status says that the outbox is empty, or keep a copy with gatewayd log export. With "
            "--abandon-log what it lacks is lost for good"
        )
    if held.unreadable is not None and not (abandon_locks and abandon_log):
        problems.append(
            f"{held.unreadable}: nobody can tell which locks are still this gateway's and what the central log lacks. "
            "Start the daemon once, which repairs it; or give --abandon-locks --abandon-log and lose both"
        )
    return problems


def _entries(count: int) -> str:
    return f"{count} {'entry' if count == 1 else 'entries'} of the journal"


def _agrees(folders: Folders, held: Held) -> bool:
    lost = [f"lock {lock_id} is abandoned" for lock_id in held.lock_ids]
    lost += [f"{_entries(held.waiting_count)} will be lost"] if held.waiting_count else []
    what = "".join(f"; {each}" for each in lost)
    question = f"This wipes keys, passwords and {folders.store_path}{what}. Type {WORD} and press Enter to go on:"
    return ask(question, flag="--yes").upper() == WORD


def _wipe(folders: Folders, places: SecretPlaces, held: Held, *, goes_on: bool, as_json: bool) -> int:
    # Keys before the store: a unit that loses its power in between cannot start as a gateway that knows nobody.
    wiped = wipe_files(places.files)
    wiped += wipe_store(folders.store_path)
    if as_json:
        give_json(
            {
                "wiped": [str(path) for path in wiped],
                "abandoned_locks": list(held.lock_ids),
                "abandoned_entry_count": held.waiting_count,
                "was_begun": goes_on and bool(wiped),
                "password_at": places.password_at,
            }
        )
    else:
        begun = "an earlier wipe had begun and is finished now; " if goes_on and wiped else ""
        give(f"{begun}{len(wiped)} files wiped: this unit is nobody's gateway until it is given new keys")
    if places.password_at is not None:
        tell(f"gatewayd: the broker's password still stands in {places.password_at}: take it out of that file")
        return exits.FAILED
    return exits.OK
