"""`docs/schemas/`: JSON Schemas of everything that is published in JSON, made from the models that publish it.

`python -m tests.support.schema_documents` writes them; a test holds what is committed against what this makes, and
every world in memory holds each message against them as it is published.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from jsonschema import Draft202012Validator

from firmware_protocol.erased import ERASED_TYPE
from gatewayd.journal.events import EVENT_TYPES
from gatewayd.uplink.documents import GatewayInfoDocument, GatewayState, Health, LockAvailability, LockState
from gatewayd.uplink.sealing import SEALED_TYPE

if TYPE_CHECKING:
    from gatewayd.journal.events import Event
    from gatewayd.uplink.documents import Document

FOLDER: Final = Path(__file__).parents[2] / "docs" / "schemas"
DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
STATE_TOPICS: Final[dict[str, type[Document]]] = {
    "state": GatewayState,
    "info": GatewayInfoDocument,
    "health": Health,
    "lock/+/state": LockState,
    "lock/+/availability": LockAvailability,
}
_BESIDE_DATA: Final = ("lock_id", "priority")
_ID: Final = r"^[0-9a-f]{32}/(0|[1-9][0-9]{0,18})$"
_MOMENT: Final = {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$"}
_README: Final = """\
# Schemas

What a gateway publishes in JSON, as JSON Schema 2020-12. Made from the models by
`python -m tests.support.schema_documents`; a test fails where a file lags behind them, and every message of the
simulated worlds is held against them.

`events/` are the entries of the journal (topic `log/entries`): CloudEvents 1.0 in structured JSON, one file a type.
`state/` are the retained documents. Within version 1 of the topics a member may be added, with a meaning when it is
absent; none is taken away, and none changes its meaning. Readers ignore what they do not know, although these schemas,
which are for checking, do not.
"""


def documents() -> dict[Path, str]:
    """Every generated file, by its path."""
    found = {FOLDER / "README.md": _README}
    for name, kind in EVENT_TYPES.items():
        found[FOLDER / "events" / f"{name}.json"] = _text(event_schema(kind))
    for name, schema in _IN_PLACE.items():
        found[FOLDER / "events" / f"{name}.json"] = _text(schema())
    for topic, document in STATE_TOPICS.items():
        name = topic.replace("/+/", "-")
        found[FOLDER / "state" / f"{name}.json"] = _text(_titled(f"urn:carelock:state:{name}", document))
    return found


def event_schema(kind: type[Event]) -> dict[str, Any]:
    """Return the schema of one type of entry."""
    data = kind.model_json_schema()
    for name in _BESIDE_DATA:
        data["properties"].pop(name)
    return {
        "$schema": DIALECT,
        "$id": f"urn:carelock:event:{kind.TYPE}",
        "title": kind.__name__,
        "description": data.pop("description"),
        "type": "object",
        "properties": {
            "carriedfrom": {
                "type": "string",
                "pattern": r"^[0-9a-f]{32}/(0|[1-9][0-9]{0,18})$",
                "description": "The id that it had in the log before this one, where that had to begin anew.",
            },
            "data": data,
            "datacontenttype": {"const": "application/json"},
            "id": {
                "type": "string",
                "pattern": r"^[0-9a-f]{32}/(0|[1-9][0-9]{0,18})$",
                "description": "log id / index",
            },
            "priority": {"const": True, "description": "Somebody should look at it now."},
            "salt": {"type": "string", "pattern": r"^[A-Za-z0-9+/]{22}==$"},
            "source": {"type": "string", "pattern": r"^/gateways/[0-9a-f]{16}(/locks/[0-9a-f]{16})?$"},
            "specversion": {"const": "1.0"},
            "time": _MOMENT | {"description": "As `timelo`: CloudEvents has one time only."},
            "timehi": _MOMENT | {"description": "Not after this; absent where time is not trusted."},
            "timelo": _MOMENT | {"description": "Not before this."},
            "type": {"const": kind.TYPE},
        },
        "required": ["data", "datacontenttype", "id", "salt", "source", "specversion", "time", "timelo", "type"],
        "additionalProperties": False,
    }


def sealed_schema() -> dict[str, Any]:
    """Return the schema of what stands in an entry's place where entries are sealed."""
    return {
        "$schema": DIALECT,
        "$id": f"urn:carelock:event:{SEALED_TYPE}",
        "title": "EntrySealed",
        "description": "An entry that only the central log can read: a libsodium sealed box of its bytes.",
        "type": "object",
        "properties": {
            "data_base64": {"type": "string", "contentEncoding": "base64", "pattern": "^[A-Za-z0-9+/]+=*$"},
            "datacontenttype": {"const": "application/octet-stream"},
            "id": {"type": "string", "pattern": _ID},
            "source": {"type": "string", "pattern": "^/gateways/[0-9a-f]{16}$"},
            "specversion": {"const": "1.0"},
            "type": {"const": SEALED_TYPE},
        },
        "required": ["data_base64", "datacontenttype", "id", "source", "specversion", "type"],
        "additionalProperties": False,
    }


def erased_schema() -> dict[str, Any]:
    """Return the schema of what stands in an entry's place where its words were erased."""
    return {
        "$schema": DIALECT,
        "$id": f"urn:carelock:event:{ERASED_TYPE}",
        "title": "EntryErased",
        "description": "The hash of an entry whose words were erased, for a central log that asks for the tree again.",
        "type": "object",
        "properties": {
            "data": {
                "type": "object",
                "properties": {
                    "note": {"type": "string", "description": "Number and leaf hash, signed by the gateway."},
                    "receipt": {"type": "string", "description": "Cosigned checkpoint: the words were received once."},
                },
                "required": ["note", "receipt"],
                "additionalProperties": False,
            },
            "datacontenttype": {"const": "application/json"},
            "id": {"type": "string", "pattern": _ID},
            "source": {"type": "string", "pattern": "^/gateways/[0-9a-f]{16}$"},
            "specversion": {"const": "1.0"},
            "type": {"const": ERASED_TYPE},
        },
        "required": ["data", "datacontenttype", "id", "source", "specversion", "type"],
        "additionalProperties": False,
    }


_IN_PLACE: Final = {SEALED_TYPE: sealed_schema, ERASED_TYPE: erased_schema}
"""What is published in the place of an entry, and is none."""


def problem_of(topic: str, payload: bytes) -> str | None:
    """Return what is wrong with a message of a gateway, None where nothing is, or no schema speaks of it."""
    rest = topic.split("/", 3)[3]
    if rest == "log/entries":
        return _first_problem(_event_validator(json.loads(payload)["type"]), payload)
    parts = rest.split("/")
    name = f"lock/+/{parts[2]}" if parts[0] == "lock" else rest
    return _first_problem(_state_validator(name), payload) if name in STATE_TOPICS else None


def _first_problem(validator: Draft202012Validator, payload: bytes) -> str | None:
    return next((f"{error.json_path}: {error.message}" for error in validator.iter_errors(json.loads(payload))), None)


@cache
def _event_validator(name: str) -> Draft202012Validator:
    in_place = _IN_PLACE.get(name)
    return Draft202012Validator(event_schema(EVENT_TYPES[name]) if in_place is None else in_place())


@cache
def _state_validator(topic: str) -> Draft202012Validator:
    return Draft202012Validator(STATE_TOPICS[topic].model_json_schema())


def _titled(name: str, document: type[Document]) -> dict[str, Any]:
    return {"$schema": DIALECT, "$id": name} | document.model_json_schema()


def _text(schema: dict[str, Any]) -> str:
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def write() -> None:
    """Write them all, and nothing else into the folder."""
    wanted = documents()
    for path in FOLDER.rglob("*.json"):
        if path not in wanted:
            path.unlink()
    for path, text in wanted.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


if __name__ == "__main__":
    write()
