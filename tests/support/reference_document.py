"""`docs/reference.md` and `docs/state-machines/link.md`, made from the code that they describe.

`python -m tests.support.reference_document` writes them; a test holds what is committed against what this makes.
"""

from __future__ import annotations

import ast
import importlib
import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Final

from firmware_protocol.codes import Code
from firmware_protocol.sentences import SENTENCES
from firmware_protocol.topics import Topics
from gatewayd import exits
from gatewayd.config.docstrings import description
from gatewayd.config.example import toml_value
from gatewayd.config.model import LockSection, Section, Settings
from gatewayd.journal.events import EVENT_TYPES
from gatewayd.link.machine import IGNORED, IMPOSSIBLE, TRANSITIONS, LinkState

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

DOCS: Final = Path(__file__).parents[2] / "docs"
GATEWAY_CODES: Final = (
    ("gatewayd.store.faults", "StoreCode", "The store"),
    ("gatewayd.link.radio", "RadioCode", "The radio"),
    ("gatewayd.link.pairing_talk", "CommissionCode", "An installer's errand"),
    ("gatewayd.cli.trial", "TrialCode", "The test movement after it"),
    ("gatewayd.uplink.seam", "BrokerCode", "The broker"),
    ("gatewayd.journal.receipts", "ReceiptRefusal", "Answers of the central log"),
    ("gatewayd.control.messages", "ControlCode", "The control socket"),
)
"""Module, enum and title of each table of gatewayd's own codes."""
_INTRO: Final = """\
# Reference

Made from the code by `python -m tests.support.reference_document`; a test fails where this page lags behind it.

Commands: `gatewayd --help`, and `gatewayd COMMAND --help` for each. stdout is data, stderr is messages.
"""


def documents() -> dict[Path, str]:
    """Every generated page, by its path."""
    return {
        DOCS / "reference.md": "\n".join(_reference()),
        DOCS / "state-machines" / "link.md": "\n".join(_link_machine()),
    }


def _reference() -> Iterator[str]:
    yield _INTRO
    yield "## Exit codes\n"
    codes = {name: getattr(exits, name) for name in _documented(inspect.getsource(exits))}
    yield from _table(
        ("code", "meaning"), ((str(codes[n]), t) for n, t in _documented(inspect.getsource(exits)).items())
    )
    yield "\n## Configuration\n"
    yield "One file, drop-ins, credentials, environment; `gatewayd config init` prints a commented example.\n"
    for name, field in Settings.model_fields.items():
        section = field.annotation if isinstance(field.annotation, type) else LockSection
        assert issubclass(section, Section)
        yield from _section(f"[{name}]" if section is not LockSection else "[locks.NAME]", section)
    yield "\n## Codes of the protocol\n"
    yield "In receipts, records, events and answers; `docs/protocol.md` §15 says what each side does.\n"
    yield from _table(
        ("code", "number", "class", "may have executed"),
        (
            (f"`{code.dotted}`", f"{code.wire:02X}", code.code_class.value, "yes" if code.may_have_executed else "")
            for code in Code
        ),
    )
    yield "\n### What they tell people\n"
    yield "`firmware_protocol/sentences.py`; `gatewayd explain` shows them.\n"
    yield from _table(
        ("code", "meaning", "next", "på svenska", "gör så här"),
        (
            (f"`{code.dotted}`", row.meaning.en, row.next_step.en, row.meaning.sv, row.next_step.sv)
            for code, row in SENTENCES.items()
        ),
    )
    for module, enum, title in GATEWAY_CODES:
        yield f"\n### {title}\n"
        yield from _table(("code", "meaning"), _enum_rows(module, enum))
    yield "\n## Events\n\nTypes of the journal's entries (CloudEvents 1.0, structured JSON).\n"
    yield from _table(
        ("type", "meaning", "data"),
        (
            (f"`{name}`", _first_line(kind.__doc__), ", ".join(f"`{key}`" for key in _data_fields(kind)))
            for name, kind in EVENT_TYPES.items()
        ),
    )
    yield "\n## Topics that a gateway subscribes to\n"
    yield from (f"- `{topic}`" for topic in Topics("<gateway>").subscriptions)
    yield ""


def _section(title: str, section: type[Section]) -> Iterator[str]:
    yield f"### `{title}`\n\n{' '.join((section.__doc__ or '').split())}\n"
    yield from _table(
        ("key", "default", "meaning"),
        (
            (
                f"`{key}`",
                "required" if field.is_required() else f"`{_default(field)}`",
                _flat(description(section, key)),
            )
            for key, field in section.model_fields.items()
        ),
    )
    yield ""


def _default(field: object) -> str:
    return toml_value(field.get_default(call_default_factory=True))  # type: ignore[attr-defined]  # a FieldInfo


def _enum_rows(module: str, enum: str) -> Iterator[tuple[str, str]]:
    kind = getattr(importlib.import_module(module), enum)
    tree = ast.parse(inspect.getsource(kind))
    meanings = _documented_body(tree.body[0].body)  # type: ignore[attr-defined]  # the class
    for member in kind:
        yield f"`{member.value}`", meanings.get(member.name, "")


def _documented(source: str) -> dict[str, str]:
    return _documented_body(ast.parse(source).body)


def _documented_body(body: Sequence[ast.stmt]) -> dict[str, str]:
    found: dict[str, str] = {}
    for statement, below in zip(body, [*body[1:], ast.Pass()], strict=True):
        match statement:
            case ast.AnnAssign(target=ast.Name(id=name)) | ast.Assign(targets=[ast.Name(id=name)]):
                documented = isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)
                found[name] = _flat(str(below.value.value)) if documented else ""  # type: ignore[attr-defined]
            case _:
                pass
    return found


def _data_fields(kind: type) -> list[str]:
    return [name for name, field in kind.model_fields.items() if not field.exclude]  # type: ignore[attr-defined]


def _link_machine() -> Iterator[str]:
    yield "# The link's machine\n"
    yield "Made from `gatewayd/link/machine.py`; a test fails where this page lags behind it."
    yield "A stop leads from every state to IDLE.\n"
    yield "```mermaid\nstateDiagram-v2\n    [*] --> IDLE"
    for (state, event), after in TRANSITIONS.items():
        if after is not LinkState.IDLE:
            yield f"    {state.name} --> {after.name}: {event.name.lower()}"
    yield "```\n"
    total = len(TRANSITIONS) + len(IGNORED) + len(IMPOSSIBLE)
    parts = f"{len(TRANSITIONS)} move, {len(IGNORED)} are ignored, {len(IMPOSSIBLE)} cannot happen"
    yield f"{total} pairs of state and event: {parts}.\n"
    yield from _table(("state", "meaning"), ((f"`{s}`", t) for s, t in _states()))
    yield ""


def _states() -> Iterator[tuple[str, str]]:
    meanings = _documented_body(ast.parse(inspect.getsource(LinkState)).body[0].body)  # type: ignore[attr-defined]
    yield from ((state.name, meanings.get(state.name, "")) for state in LinkState)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    yield from (f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows)


def _first_line(text: str | None) -> str:
    return (text or "").strip().splitlines()[0]


def _flat(text: str) -> str:
    return " ".join(text.split())


if __name__ == "__main__":
    for path, text in documents().items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
