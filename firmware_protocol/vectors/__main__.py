"""Run files of test vectors, or whole folders of them, against this code; or write this project's own.

`python -m firmware_protocol.vectors PATH…` and `python -m firmware_protocol.vectors export DIR`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from firmware_protocol.vectors import own, published
from firmware_protocol.vectors.tally import VectorFileError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SUFFIXES: Final = frozenset({".json", ".txt"})
"""What a folder is searched for."""
EXIT_FAILED: Final = 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return the exit status: 0 when everything passed, 1 on a failure or an unreadable file."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    parser = argparse.ArgumentParser(
        prog="python -m firmware_protocol.vectors", description=__doc__, usage="%(prog)s PATH [PATH ...] | export DIR"
    )
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="a file of vectors, or a folder of them")
    if given[:1] == ["export"]:
        parser.add_argument("folder", type=Path, metavar="DIR")
        return _export(parser.parse_args(given).folder)
    failed_count = sum(_fails(path) for path in _files(parser.parse_args(given).paths))
    return EXIT_FAILED if failed_count else 0


def _export(folder: Path) -> int:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in own.documents():
            (folder / name).write_text(text, encoding="utf-8")
    except OSError as error:
        sys.stderr.write(f"{folder}: cannot be written: {_reason(error)}; name a folder of your own\n")
        return EXIT_FAILED
    return 0


def _files(paths: Sequence[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            found = sorted(each for each in path.rglob("*") if each.suffix in SUFFIXES and each.is_file())
            yield from found or [path]  # a folder of nothing is a mistake of the caller's, told as such
        else:
            yield path


def _fails(path: Path) -> bool:
    try:
        tally = published.judge(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, VectorFileError) as error:
        sys.stderr.write(f"{path}: cannot be run: {_reason(error)}; name a file of test vectors or a folder of them\n")
        return True
    sys.stdout.writelines(f"{line}\n" for line in tally.lines(str(path)))
    return bool(tally.failures)


def _reason(error: Exception) -> str:
    if isinstance(error, IsADirectoryError):
        return "no .json and no .txt file in it"
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return "not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)


if __name__ == "__main__":
    sys.exit(main())
