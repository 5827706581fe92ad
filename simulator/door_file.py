"""The physical truth in a file: a process that is killed takes its lock's power away, but not its door."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from firmware_protocol.vocabulary import Bolt, DoorLeaf
from simulator.mechanics import Cause, Movement

if TYPE_CHECKING:
    from pathlib import Path

    from simulator.mechanics import Mechanics


def door_document(mechanics: Mechanics) -> dict[str, Any]:
    """Return how the door stands, and every movement of its bolt so far, for JSON."""
    return {
        "bolt": mechanics.bolt.name.lower(),
        "door": mechanics.door.name.lower(),
        "battery_mv": mechanics.battery_mv,
        "tampered": mechanics.tampered,
        "movements": [_movement_document(movement) for movement in mechanics.movements],
    }


def keep_door(mechanics: Mechanics, path: Path) -> None:
    """Take the door over from `path`, where it is there, and write every change of it there from now on.

    Raises:
        OSError: the file can't be read or written.
        ValueError: it is not a door file.
    """
    if path.exists():
        _restore(mechanics, json.loads(path.read_text()))

    def save() -> None:
        # Renamed, not synced: it must outlive the process, not the machine.
        fresh = path.with_name(path.name + ".new")
        fresh.write_text(json.dumps(door_document(mechanics)))
        fresh.replace(path)

    save()
    mechanics.on_changed = save


def _restore(mechanics: Mechanics, document: dict[str, Any]) -> None:
    try:
        bolt = Bolt[document["bolt"].upper()]
        mechanics.bolt = Bolt.UNKNOWN if bolt in {Bolt.LOCKING, Bolt.UNLOCKING} else bolt
        mechanics.door = DoorLeaf[document["door"].upper()]
        mechanics.tampered = bool(document["tampered"])
        mechanics.drain_battery(int(document["battery_mv"]))
        mechanics.movements[:] = [_movement(each) for each in document["movements"]]
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError("not a door file") from error


def _movement_document(movement: Movement) -> dict[str, Any]:
    return {
        "at_ms": movement.at_ms,
        "cause": movement.cause.value,
        "command_id": None if movement.command_id is None else movement.command_id.hex(),
        "start": movement.start.name.lower(),
        "target": movement.target.name.lower(),
    }


def _movement(document: dict[str, Any]) -> Movement:
    command_id = document["command_id"]
    return Movement(
        at_ms=int(document["at_ms"]),
        cause=Cause(document["cause"]),
        command_id=None if command_id is None else bytes.fromhex(command_id),
        start=Bolt[document["start"].upper()],
        target=Bolt[document["target"].upper()],
    )
