"""What phones carry in and out where there is no internet: rights, time and receipts in, the journal out (§20)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from firmware_protocol.codes import Code
from firmware_protocol.constants import COURIER_VISIT_SIZE_MAX
from firmware_protocol.errors import RemoteProtocolError
from firmware_protocol.vocabulary import Parcel
from gatewayd.errors import GatewayError
from gatewayd.store.store import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatewayd.uplink.ledger import Ledger
    from gatewayd.uplink.ports import LogMail, SignedObjects
    from gatewayd.uplink.seals import Seals

ENTRY_COUNT_MAX: Final = 128
"""Most entries of the journal that one wish is answered with."""


class Couriers:
    """The same doors as the broker's: what is believed is signed, whoever carries it."""

    def __init__(
        self,
        *,
        objects: SignedObjects,
        log_mail: LogMail,
        ledger: Ledger,
        seals: Seals,
        seal: Callable[[int, bytes], bytes] | None = None,
    ) -> None:
        """With `seal` phones carry what it makes of an entry: they are no more to read visits than the broker is."""
        self._seal = seal
        self._seals = seals
        self._objects = objects
        self._log_mail = log_mail
        self._ledger = ledger

    async def take(self, kind: Parcel, data: bytes) -> Code:
        """Take an object in; return DONE, or why not."""
        takers = {
            Parcel.KEYSET: self._objects.take_keyset,
            Parcel.AUTHORITY: self._objects.take_authority,
            Parcel.STATE: self._objects.take_state,
            Parcel.GRANT: self._objects.take_grant,
            Parcel.RECEIPT: self._log_mail.take_log_mail,
        }
        take = takers.get(kind)
        if take is None:
            return Code.UNSUPPORTED_TYPE
        try:
            await take(self._seals.open(data).payload)
        except RemoteProtocolError as error:
            return error.code
        except StoreError:
            return Code.STORE_UNAVAILABLE
        except GatewayError:
            return Code.BAD_SIGNATURE  # a receipt that is none for us, or counts no more
        return Code.DONE

    async def give(self, kind: Parcel, from_index: int) -> tuple[Code, tuple[bytes, ...]]:
        """Return what is to be carried to the central log, and DONE, or why there is none."""
        try:
            match kind:
                case Parcel.ENTRY:
                    entries = await self._ledger.entries(from_index, ENTRY_COUNT_MAX, COURIER_VISIT_SIZE_MAX)
                    seal = self._seal
                    return Code.DONE, tuple(leaf if seal is None else seal(index, leaf) for index, leaf in entries)
                case Parcel.CHECKPOINT:
                    note = await self._ledger.checkpoint()
                    return Code.DONE, () if note is None else (note,)
                case _:
                    return Code.UNSUPPORTED_TYPE, ()
        except StoreError:
            return Code.STORE_UNAVAILABLE, ()
