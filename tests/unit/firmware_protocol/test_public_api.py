"""What `firmware_protocol` exports: all that the contract names, documented, and free for who imports only a part."""

from __future__ import annotations

import importlib
import inspect
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import firmware_protocol
from firmware_protocol.codes import Code
from tests.support.protocol_classes import wire_maps

if TYPE_CHECKING:
    from types import FunctionType

    from firmware_protocol.schema import WireMap


@pytest.mark.parametrize("name", firmware_protocol.__all__)
def test_each_name_is_there_documented_and_its_module_cites_the_section(name: str) -> None:
    found = getattr(firmware_protocol, name)
    assert inspect.getdoc(found)
    module = importlib.import_module(found.__module__)
    assert re.search(r"§\d|RFC|docs/protocol\.md", module.__doc__ or "") or module.__name__.endswith("errors")


@pytest.mark.parametrize("name", firmware_protocol.__all__)
def test_whoever_may_refuse_says_with_which_error(name: str) -> None:
    for function in functions_of(getattr(firmware_protocol, name)):
        if re.search(r"\braise (Local|Remote)ProtocolError\(", inspect.getsource(function)):
            assert "Raises:" in (inspect.getdoc(function) or ""), f"{name}: {function.__name__}"


def functions_of(found: object) -> list[FunctionType]:
    parts = [part for _, part in inspect.getmembers(found)] if inspect.isclass(found) else [found]
    return [
        part
        for part in parts
        if inspect.isfunction(part) and part.__module__.startswith("firmware_protocol") and part.__name__[0] != "_"
    ]


@pytest.mark.parametrize("kind", wire_maps(), ids=lambda kind: kind.__name__)
def test_every_map_of_the_protocol_is_public(kind: type[WireMap]) -> None:
    assert getattr(firmware_protocol, kind.__name__) is kind


def test_there_is_no_other_name() -> None:
    assert firmware_protocol.Code is Code
    with pytest.raises(AttributeError, match="no attribute 'unlock'"):
        firmware_protocol.unlock  # type: ignore[attr-defined]  # noqa: B018 - the look-up is the test
    with pytest.raises(ImportError):
        from firmware_protocol import nothing_of_the_kind  # type: ignore[attr-defined]  # noqa: F401, PLC0415


def test_importing_a_part_does_not_import_the_whole() -> None:
    parts = "('.session', '.noise', '.cbor')"
    script = f"import sys, firmware_protocol.codes; sys.exit(any(name.endswith({parts}) for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
