"""Rate limits that outlive a restart: an attacker must not refill a bucket by pulling the plug."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping

    from gatewayd.store.database import Transaction

BUCKET_COUNT_MAX: Final = 4_096
"""Most buckets kept; the one that has been full again for longest goes first."""


def load_buckets(tx: Transaction, keys: Iterable[str]) -> dict[str, int]:
    """Return the theoretical arrival times (GCRA) of those buckets that are known, in milliseconds."""
    names = tuple(keys)
    places = ", ".join("?" * len(names))
    return dict(tx.execute(f"SELECT name, arrival_ms FROM buckets WHERE name IN ({places})", names))  # noqa: S608 - marks


def save_buckets(tx: Transaction, buckets: Mapping[str, int], *, known: Container[str] = ()) -> None:
    """Keep theoretical arrival times, by bucket; `known` are those that `load_buckets` has found."""
    for key, arrival_ms in buckets.items():
        tx.execute(
            "INSERT INTO buckets VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET arrival_ms = ?2 "
            "WHERE arrival_ms <> ?2",
            (key, arrival_ms),
        )
    if all(key in known for key in buckets):
        return  # there are no more of them than before
    ((count,),) = tx.execute("SELECT count(*) FROM buckets")
    if count > BUCKET_COUNT_MAX:
        tx.execute(
            "DELETE FROM buckets WHERE name IN (SELECT name FROM buckets ORDER BY arrival_ms LIMIT ?)",
            (count - BUCKET_COUNT_MAX,),
        )
