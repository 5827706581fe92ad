"""Home Assistant's device discovery: what a gateway and its doors show, and nothing that could be pressed.

Its `lock` entity sends an unsigned UNLOCK and cannot be made read-only, so a door is shown as binary sensors, a sensor
and an event; no command topic stands anywhere. Discovery messages are retained, and written again when Home Assistant
says that it has started: it takes a retained one away when somebody deletes the device there. Events are not retained,
so that it does not tell yesterday's again.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from gatewayd.uplink.pace import Pace

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from firmware_protocol.topics import Topics
    from gatewayd.uplink.board import Board

EVENT_TYPES: Final = (
    "carelock.command.decided",
    "carelock.command.outcome",
    "carelock.alarm.opened",
    "carelock.alarm.closed",
    "carelock.alert.raised",
)
"""What somebody may want to see happen; the journal has more."""
_UNKNOWN: Final = "None"
"""Home Assistant's word for a state that nobody knows (law 10): neither on nor off."""


BIRTH_INTERVAL_S: Final = 60.0
"""At most one answer to a birth in so long: anybody whom the broker lets may say that it has started."""


class Announcements:
    """What Home Assistant is told of this gateway's devices, on the board and again at each of its births."""

    def __init__(self, prefix: str, topics: Topics, *, version: str, board: Board) -> None:
        self.birth_topic = f"{prefix}/status"
        """Where Home Assistant says `online` once it has started, and `offline`."""
        self._board = board
        self._births = Pace(burst=1, interval_s=BIRTH_INTERVAL_S)
        self._prefix, self._topics, self._version = prefix, topics, version

    def show(self, lock_ids: Iterable[bytes]) -> None:
        """Announce the gateway and these doors."""
        for topic, document in discovery(self._prefix, self._topics, lock_ids, version=self._version):
            self._board.put(topic, to_payload(document))

    def withdraw(self, lock_id: bytes) -> None:
        """A door is not ours any more."""
        self._board.put(_topic(self._prefix, self._topics, lock_id.hex()), b"")

    def take_birth(self, payload: bytes, now_s: float) -> None:
        """Take a live message on the birth topic: states and discovery are written again, all of them."""
        if payload == b"online" and self._births.allows(now_s):
            self._board.renew()


def discovery(
    prefix: str, topics: Topics, lock_ids: Iterable[bytes], *, version: str
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield topic and document of each device: the gateway, and a door each."""
    yield _topic(prefix, topics, "gateway"), _gateway(topics, version)
    for lock_id in lock_ids:
        yield _topic(prefix, topics, lock_id.hex()), _door(topics, lock_id, version)


def to_payload(document: dict[str, Any]) -> bytes:
    """Return the bytes, the same for the same document."""
    return json.dumps(document, separators=(",", ":"), sort_keys=True).encode()


def _topic(prefix: str, topics: Topics, name: str) -> str:
    # The gateway's own level, so that an access list can keep one gateway from speaking for another.
    return f"{prefix}/device/{topics.gateway}/{name}/config"


def _gateway(topics: Topics, version: str) -> dict[str, Any]:
    outbox = {
        "platform": "sensor",
        "name": "Unconfirmed events",
        "state_topic": topics.health,
        "value_template": "{{ value_json.outbox_depth }}",
        "entity_category": "diagnostic",
    }
    happened = {
        "platform": "event",
        "name": "Event",
        "state_topic": topics.log_entries,
        "event_types": list(EVENT_TYPES),
        # What is not in the list renders as nothing, which Home Assistant passes over.
        "value_template": "{% if value_json.type in " + json.dumps(EVENT_TYPES) + " %}"
        "{{ {'event_type': value_json.type, 'source': value_json.source} | tojson }}{% endif %}",
    }
    return _device(
        topics,
        topics.gateway,
        version,
        device={"name": f"CareLock gateway {topics.gateway[:4]}", "model": "gateway"},
        components={"outbox": outbox, "event": happened},
    )


def _door(topics: Topics, lock_id: bytes, version: str) -> dict[str, Any]:
    state = topics.lock_state(lock_id)
    bolt = _binary("Bolt", "lock", state, "bolt", on="unlocked", off="locked")
    leaf = _binary("Door", "door", state, "door", on="open", off="closed")
    jammed = {
        "platform": "binary_sensor",
        "name": "Jammed",
        "device_class": "problem",
        "state_topic": state,
        "value_template": "{{ {'jammed': 'ON', 'unknown': '" + _UNKNOWN + "'}.get(value_json.bolt, 'OFF') }}",
    }
    battery = {
        "platform": "sensor",
        "name": "Battery",
        "device_class": "voltage",
        "unit_of_measurement": "mV",
        "state_topic": state,
        "value_template": "{{ value_json.battery_mv }}",
        "entity_category": "diagnostic",
    }
    link = _binary("Reachable", "connectivity", topics.lock_availability(lock_id), "state", on="online", off="offline")
    name = lock_id.hex()
    return _device(
        topics,
        name,
        version,
        device={"name": f"CareLock door {name[:4]}", "model": "lock", "via_device": f"carelock-{topics.gateway}"},
        components={"bolt": bolt, "door": leaf, "jammed": jammed, "battery": battery, "link": link},
    )


def _binary(name: str, kind: str, topic: str, member: str, *, on: str, off: str) -> dict[str, Any]:
    states = "{'" + on + "': 'ON', '" + off + "': 'OFF'}"
    return {
        "platform": "binary_sensor",
        "name": name,
        "device_class": kind,
        "state_topic": topic,
        "value_template": "{{ " + states + ".get(value_json." + member + ", '" + _UNKNOWN + "') }}",
    }


def _device(
    topics: Topics, name: str, version: str, *, device: dict[str, Any], components: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    identifier = f"carelock-{name}"
    return {
        "device": {"identifiers": [identifier], "manufacturer": "CareLock", **device},
        "origin": {"name": "gatewayd", "sw_version": version},
        "availability_topic": topics.state,
        "availability_template": "{{ value_json.state }}",
        "qos": 1,
        "components": {key: {"unique_id": f"{identifier}-{key}", **component} for key, component in components.items()},
    }
