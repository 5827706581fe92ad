"""A disk that loses power: it records what SQLite asks of it, and gives back what a card may hold after a cut.

Between two syncs of a file everything is open: each sector of each write may have reached the card or not,
in any order, and one may be torn in the middle. What was synced is there.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeAlias

import apsw

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path
    from random import Random

SECTOR_SIZE: Final = 512
"""What a card writes whole, in bytes, or tears."""


@dataclass(frozen=True, slots=True)
class Wrote:
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Cut:
    size: int


@dataclass(frozen=True, slots=True)
class Deleted:
    pass


@dataclass(frozen=True, slots=True)
class Synced:
    pass


@dataclass(frozen=True, slots=True)
class Lost:
    """A sync that failed: the kernel takes what was written for clean, and never writes it."""


Change: TypeAlias = Wrote | Cut | Deleted | Synced | Lost
Files: TypeAlias = "Mapping[str, bytes]"


class PowerDisk(apsw.VFS):
    """The real disk, with a record of every change. It is never synced: the record says when it should have been."""

    def __init__(self, name: str, *, failing_sync: int | None = None) -> None:
        """`failing_sync`: the number of the one sync that fails, from 1."""
        super().__init__(name, base="")
        self.name = name
        self._until_failure = failing_sync
        self.changes: list[tuple[str, Change]] = []

    def xOpen(  # noqa: N802 - apsw's name
        self, name: str | apsw.URIFilename | None, flags: list[int]
    ) -> apsw.VFSFile:
        """Open through the real disk."""
        return _RecordedFile(name, flags, self)

    def sync(self, name: str) -> None:
        """Note a sync, or fail it."""
        if self._until_failure is not None:
            self._until_failure -= 1
            if self._until_failure == 0:
                self.changes.append((name, Lost()))
                raise apsw.exception_for(apsw.SQLITE_IOERR_FSYNC)
        self.changes.append((name, Synced()))

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802, FBT001 - apsw's
        """Delete, which a cut may undo as long as nothing after it was synced."""
        super().xDelete(filename, syncdir)
        self.changes.append((_base(filename), Deleted()))


class _RecordedFile(apsw.VFSFile):
    def __init__(self, name: str | apsw.URIFilename | None, flags: list[int], disk: PowerDisk) -> None:
        super().__init__("", name, flags)
        full = "" if name is None else name if isinstance(name, str) else name.filename()
        self._name, self._changes, self._disk = _base(full), disk.changes, disk

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - apsw's name
        super().xWrite(data, offset)
        self._changes.append((self._name, Wrote(offset, bytes(data))))

    def xTruncate(self, newsize: int) -> None:  # noqa: N802 - apsw's name
        super().xTruncate(newsize)
        self._changes.append((self._name, Cut(newsize)))

    def xSync(self, flags: int) -> None:  # noqa: ARG002, N802 - apsw's name
        self._disk.sync(self._name)


def _base(path: str) -> str:
    return path.rpartition("/")[2]


@dataclass(slots=True)
class _Image:
    """One file: what the card surely holds, and what was asked for since."""

    durable: bytearray | None = None
    pending: list[Change] = field(default_factory=list)

    def take(self, change: Change) -> None:
        match change:
            case Synced():
                for each in self.pending:
                    self.durable = _apply(self.durable, each)
                self.pending.clear()
            case Lost():
                self.pending = [each for each in self.pending if not isinstance(each, Wrote)]
            case _:
                self.pending.append(change)

    def survive(self, chance: Random, kept: float) -> bytes | None:
        content = None if self.durable is None else bytearray(self.durable)
        for change in self.pending:
            match change:
                case Wrote(offset=offset, data=data):
                    for part in _sectors(offset, data):
                        if chance.random() < kept:
                            content = _apply(content, part if chance.random() < 0.9 else _tear(part, chance))
                case Deleted() if chance.random() >= kept:
                    break  # the file is back; what was written since went into another one of its name
                case Cut() if chance.random() >= kept:
                    continue
                case _:
                    content = _apply(content, change)
        return None if content is None else bytes(content)


class Card:
    """The files of a disk, followed change by change."""

    def __init__(self, files: Files) -> None:
        self._images = {name: _Image(bytearray(data)) for name, data in files.items()}

    def take(self, name: str, change: Change) -> None:
        """Go one change further."""
        self._images.setdefault(name, _Image()).take(change)

    def after_cut(self, chance: Random) -> Files:
        """Return what may be there if power goes now."""
        kept = chance.choice((0.0, 0.1, 0.5, 0.9, 1.0))
        left = {name: image.survive(chance, kept) for name, image in self._images.items()}
        return {name: data for name, data in left.items() if data is not None}


def put_back(files: Files, folder: Path) -> None:
    """Make a folder hold exactly these files."""
    for file in folder.iterdir():
        file.unlink()
    for name, data in files.items():
        (folder / name).write_bytes(data)


def _sectors(offset: int, data: bytes) -> Iterator[Wrote]:
    at = 0
    while at < len(data):
        size = SECTOR_SIZE - (offset + at) % SECTOR_SIZE
        yield Wrote(offset + at, data[at : at + size])
        at += size


def _tear(part: Wrote, chance: Random) -> Wrote:
    return Wrote(part.offset, part.data[: chance.randrange(len(part.data) + 1)])


def _apply(content: bytearray | None, change: Change) -> bytearray | None:
    match change:
        case Deleted():
            return None
        case Cut(size=size):
            content = bytearray() if content is None else content
            del content[size:]
        case Wrote(offset=offset, data=data):
            content = bytearray() if content is None else content
            if len(content) < offset:
                content.extend(bytes(offset - len(content)))
            content[offset : offset + len(data)] = data
        case Synced() | Lost():
            pass
    return content
