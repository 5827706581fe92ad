"""Where a command finds the journal: the running daemon, its store, a copy of a store, or an exported file."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gatewayd import exits
from gatewayd.cli.log_file import is_export, read_export, refuse_other_file
from gatewayd.cli.say import tell_error, tell_problems
from gatewayd.config.loader import load_folders
from gatewayd.config.problems import ConfigError
from gatewayd.config.values import STORE_NAME
from gatewayd.control.client import ControlClient
from gatewayd.control.messages import ControlCode, ControlError
from gatewayd.errors import GatewayError
from gatewayd.store.inspection import read_trust_file
from gatewayd.store.log import read_log

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gatewayd.config.values import Folders
    from gatewayd.journal.copies import LogCopy
    from gatewayd.store.inspection import StoredTrust


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenLog:
    """A journal that is being looked at."""

    copy: LogCopy
    trust: StoredTrust
    folders: Folders | None
    """This gateway's, where there is a configuration."""


@contextmanager
def open_log(config: Path, source: Path | None) -> Iterator[OpenLog]:
    """Open the journal: `source`, or else the running daemon's, or else the store of a stopped one.

    Raises:
        ConfigError: no source was named, and the configuration cannot be read.
        GatewayError: there is no such journal, or it cannot be read.
    """
    folders = _folders(config, needed=source is None)
    with ExitStack() as stack:
        copy, trust = _open(folders, source, stack)
        yield OpenLog(copy=copy, trust=trust, folders=folders)


def guarded(work: Callable[[], int]) -> int:
    """Run a command's work and return its exit code; what stands in its way is told in one line."""
    try:
        return work()
    except ConfigError as error:
        tell_problems(error)
        return exits.CONFIG
    except GatewayError as error:
        tell_error(error)
        return exits.FAILED


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
    if is_export(path):
        return read_export(path)
    if path.is_file():
        refuse_other_file(path)
    file = path / STORE_NAME if path.is_dir() else path
    trust = read_trust_file(file)  # first: the copy keeps its connection while it is read
    return read_log(file), trust
