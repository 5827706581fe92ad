"""A gateway's card after another unit has taken its place, and what the central log was told of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gatewayd.provisioning.papers import Papers
    from tests.support.life_world import LifeWorld


class OldUnit:
    """What stands on the old card: keys, papers, store."""

    def __init__(self, world: LifeWorld, papers: Papers) -> None:
        self._world = world
        self._home, self._link_keys, self._papers = world.home, world.link_keys, papers
        self._store_path, self._door, self._topics = world.store_path, world.door, world.topics

    def comes_back(self) -> Papers:
        """Put the card into the machine; return the papers that were left with it."""
        world = self._world
        world.home, world.link_keys, world.store_path = self._home, self._link_keys, self._store_path
        world.door, world.topics = self._door, self._topics
        return self._papers


def alerts(world: LifeWorld, code: str) -> list[str]:
    """What the central log has verified of such alerts, in whichever log of whichever unit."""
    held = world.central_store.logs()
    leaves = [
        world.central_store.leaf(log.gateway_id, log.log_id, at) for log in held for at in range(log.frontier.size)
    ]
    events = [json.loads(leaf or b"") for leaf in leaves]
    return [
        each["data"]["detail"]
        for each in events
        if each["type"] == "carelock.alert.raised" and each["data"]["code"] == code
    ]
