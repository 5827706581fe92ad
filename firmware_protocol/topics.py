"""The MQTT topics below `carelock/v1/<gateway>/` (docs/protocol.md §14)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

ROOT: Final = "carelock/v1"
TOPIC_SIZE_MAX: Final = 256


@dataclass(frozen=True, slots=True)
class Topics:
    """Every topic of one gateway; ids are lower-case hex, so that no id can hold `/`, `+` or `#`."""

    gateway: str
    """16 hex digits."""

    @classmethod
    def of(cls, gateway_id: bytes) -> Topics:
        """Name the topics of the gateway with this id."""
        return cls(gateway_id.hex())

    @property
    def state(self) -> str:
        """Out, retained, and the will: online or offline."""
        return self._below("state")

    @property
    def info(self) -> str:
        """Out, retained: a GatewayInfo and the versions."""
        return self._below("info")

    @property
    def health(self) -> str:
        """Out, retained: how the parts do, with the interval at which it is renewed."""
        return self._below("health")

    def lock_state(self, lock_id: bytes) -> str:
        """Out, retained: the door as last known, with its age."""
        return self._below(f"lock/{lock_id.hex()}/state")

    def lock_availability(self, lock_id: bytes) -> str:
        """Out, retained: whether the BLE link is up."""
        return self._below(f"lock/{lock_id.hex()}/availability")

    @property
    def log_entries(self) -> str:
        """Out: the leaves of the journal, one a message, in order."""
        return self._below("log/entries")

    @property
    def log_checkpoint(self) -> str:
        """Out: signed checkpoints."""
        return self._below("log/checkpoint")

    @property
    def log_receipt(self) -> str:
        """In: cosigned checkpoints and conflict answers."""
        return self._below("log/receipt")

    @property
    def command(self) -> str:
        """In: bundles."""
        return self._below("command")

    @property
    def alarm(self) -> str:
        """In: signed Alarms."""
        return self._below("alarm")

    @property
    def response(self) -> str:
        """Out: receipts and refusals, where the sender named no response topic."""
        return self._below("response")

    def response_to(self, name: str) -> str:
        """Out: an answer on a topic of the sender's choice below `response/`."""
        return self._below(f"response/{name}")

    def request(self, verb: str) -> str:
        """In: what may be asked beside movement."""
        return self._below(f"request/{verb}")

    @property
    def authority_keyset(self) -> str:
        """In, retained."""
        return self._below("authority/keyset")

    @property
    def authority_state(self) -> str:
        """In, retained."""
        return self._below("authority/state")

    def authority_provider(self, provider: str) -> str:
        """In, retained: the Authority of one provider."""
        return self._below(f"authority/provider/{provider}")

    def authority_grant(self, name: str) -> str:
        """In, retained: one grant."""
        return self._below(f"authority/grants/{name}")

    @property
    def subscriptions(self) -> tuple[str, ...]:
        """Every filter that a gateway subscribes to; `#` is never among them."""
        return (
            self.command,
            self.alarm,
            self.log_receipt,
            self._below("request/+"),
            self.authority_keyset,
            self.authority_state,
            self._below("authority/provider/+"),
            self._below("authority/grants/+"),
        )

    def accepts_response_topic(self, topic: str) -> bool:
        """Tell whether a sender may choose this topic.

        Only one level below `response/`: else our credentials would publish where a stranger says.
        """
        prefix = self._below("response/")
        name = topic.removeprefix(prefix)
        return (
            topic.startswith(prefix)
            and name != ""
            and all(character.isascii() and (character.isalnum() or character in "-_") for character in name)
            and len(topic) <= TOPIC_SIZE_MAX
        )

    def _below(self, rest: str) -> str:
        return f"{ROOT}/{self.gateway}/{rest}"
