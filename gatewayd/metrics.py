"""What an operator's monitoring reads: a file in Prometheus' text format, for the node exporter's textfile collector.

No port is opened. Written by hand, because the usual library takes half as long to import as all the rest (ADR 0028).
Nobody is named, and no visit is counted; where a door stands is on this machine's own file only.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Final, Protocol

import structlog

from gatewayd.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from gatewayd.control.messages import LockStatus, StatusDocument, StatusSource

TIERS: Final = ("fresh", "stale", "cold", "suspect")
BOLTS: Final = ("unknown", "locked", "locking", "unlocked", "unlocking", "jammed")
DOORS: Final = ("unknown", "closed", "open")

_log = structlog.get_logger()


class Sample(Protocol):
    """A value of one lock, None where it is not known: then it is left out, because 0 would be a lie."""

    def __call__(self, lock: LockStatus) -> float | None:
        """Return it."""


_OF_LOCKS: Final[tuple[tuple[str, str, Sample], ...]] = (
    ("lock_ready", "Authenticated answers arrive from this lock.", lambda lock: float(lock.ready)),
    ("lock_link_age_seconds", "For how long its link is as it is.", lambda lock: lock.link_age_ms / 1_000),
    ("lock_rssi_dbm", "How strongly it is heard.", lambda lock: lock.rssi_dbm),
    ("lock_battery_volts", "As last seen.", lambda lock: _ratio(lock.battery_mv)),
    ("lock_observed_age_seconds", "How old bolt, door and battery are.", lambda lock: _ratio(lock.observed_age_ms)),
)


def metrics_text(status: StatusDocument, dropped: Mapping[str, int]) -> str:
    """Return the file's content. `dropped`: messages from the broker that went no further, by reason."""
    lines: list[str] = []
    authority, outbox = status.authority, status.outbox
    _add(lines, "info", "Which gateway and version.", [({"gateway": status.gateway_id, "version": status.version}, 1)])
    plain: tuple[tuple[str, str, float | None], ...] = (
        ("boots", "Starts on this store.", status.boot),
        ("up_seconds", "Since the start.", status.up_ms / 1_000),
        ("clock_trusted", "Whether UTC is bounded by evidence.", float(status.clock.trusted)),
        ("broker_connected", "Whether there is a session, subscriptions granted.", float(status.broker.connected)),
        ("outbox_entries", "Entries that the central log has not signed for.", outbox.depth),
        ("outbox_oldest_age_seconds", "How old the oldest of them is.", _ratio(outbox.oldest_age_ms)),
        ("authority_state_seq", "The newest AuthorityState.", authority.state_seq),
        ("authority_state_age_seconds", "How old it is at least.", authority.state_age_s),
        ("authority_grants", "Grants kept for use without internet.", authority.grant_count),
    )
    for name, text, value in plain:
        _add(lines, name, text, [({}, value)])
    _add(lines, "tier", "How far the knowledge of rights and time reaches.", _one_of("tier", TIERS, status.tier, {}))
    for name, text, sample in _OF_LOCKS:
        _add(lines, name, text, [({"lock": lock.lock_id}, sample(lock)) for lock in status.locks])
    bolts = [row for lock in status.locks for row in _one_of("state", BOLTS, lock.bolt, {"lock": lock.lock_id})]
    _add(lines, "lock_bolt", "Where the bolt is; an old observation is unknown.", bolts)
    doors = [row for lock in status.locks for row in _one_of("state", DOORS, lock.door, {"lock": lock.lock_id})]
    _add(lines, "lock_door", "Where the door leaf is.", doors)
    drops = [({"reason": reason}, count) for reason, count in sorted(dropped.items())]
    _add(lines, "broker_dropped_messages_total", "Messages that went no further.", drops, kind="counter")
    return "\n".join(lines) + "\n"


async def write_metrics(
    path: Path, *, status: StatusSource, dropped: Callable[[], Mapping[str, int]], interval_s: float
) -> None:
    """Write the file for ever, whole or not at all; what stands in the way is told once a kind."""
    told = ""
    while True:
        try:
            text = metrics_text(await status.status(), dropped())
            await asyncio.to_thread(_replace, path, text)
            told = ""
        except (OSError, GatewayError) as error:
            if told != type(error).__name__:
                told = type(error).__name__
                _log.warning("metrics.not_written", path=str(path), detail=str(error))
        await asyncio.sleep(interval_s)


def _replace(path: Path, text: str) -> None:
    # The collector reads whenever it likes: it must never see half a file. It skips names without `.prom`.
    unfinished = path.with_name(f".{path.name}.new")
    unfinished.write_text(text)
    unfinished.chmod(0o644)
    os.replace(unfinished, path)  # noqa: PTH105 - the atomic one by name


def _add(
    lines: list[str],
    name: str,
    text: str,
    rows: Iterable[tuple[Mapping[str, str], float | None]],
    *,
    kind: str = "gauge",
) -> None:
    samples = [f"carelock_{name}{_labels(labels)} {value:g}" for labels, value in rows if value is not None]
    if samples:
        lines.extend((f"# HELP carelock_{name} {text}", f"# TYPE carelock_{name} {kind}", *samples))


def _one_of(
    label: str, states: Iterable[str], shown: str, labels: Mapping[str, str]
) -> list[tuple[Mapping[str, str], float | None]]:
    """Return a row for each state, 1 for the one that is shown: so an alert can name it."""
    return [({**labels, label: state}, float(state == shown)) for state in states]


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    pairs = (f'{name}="{_escaped(value)}"' for name, value in labels.items())
    return "{" + ",".join(pairs) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _ratio(thousandths: int | None) -> float | None:
    return None if thousandths is None else thousandths / 1_000
