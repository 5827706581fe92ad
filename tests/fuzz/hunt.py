"""One target under atheris until it ends: `python -m tests.fuzz.hunt TARGET [option of libFuzzer …] CORPUS`."""

from __future__ import annotations

import sys

import atheris  # type: ignore[import-untyped,import-not-found,unused-ignore]  # no types; x86_64 only

with atheris.instrument_imports(include=["firmware_protocol"], enable_loader_override=False):
    from tests.fuzz.readers import TARGETS

if __name__ == "__main__":
    name, *options = sys.argv[1:]
    atheris.Setup([sys.argv[0], *options], TARGETS[name].try_bytes)
    atheris.Fuzz()
