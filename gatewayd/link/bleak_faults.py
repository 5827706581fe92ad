"""What bleak and BlueZ raise, told in the words of `radio.py`. Imports bleak's exceptions, and nothing else of it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

import structlog
from bleak.exc import (
    BleakBluetoothNotAvailableError,
    BleakBluetoothNotAvailableReason,
    BleakDBusError,
    BleakError,
)

from gatewayd.link.bluez import BUS_FAULTS
from gatewayd.link.radio import RadioCode, RadioError, RadioUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

SCAN_SWITCH_MS_MAX: Final = 5_000
"""Longest time to start or stop a scan, in milliseconds: connecting to the bus and one answer of BlueZ."""
FAULTS: Final = (BleakError, TimeoutError, *BUS_FAULTS)
ABORTED_DETAILS: Final = frozenset(
    {"le-connection-abort-by-local", "le-connection-abort-by-remote", "Software caused connection abort"}
)
"""What BlueZ says then (its src/error.h, and the kernel's ECONNABORTED)."""
NO_SLOT_DETAILS: Final = frozenset({"le-connection-concurrent-connection-limit", "Too many links"})
"""What BlueZ says where the controller has no connection left."""
IN_PROGRESS: Final = "org.bluez.Error.InProgress"
REFUSED_COUNT_MAX: Final = 3
"""Scans in a row that are refused as in progress, after which living links are given up for the next."""
NOT_READY: Final = "org.bluez.Error.NotReady"
ACCESS_DENIED: Final = "org.freedesktop.DBus.Error.AccessDenied"

log = structlog.get_logger()

_REASONS: Final = {
    BleakBluetoothNotAvailableReason.NO_BLUETOOTH: "no Bluetooth adapter",
    BleakBluetoothNotAvailableReason.NO_BLE_CENTRAL_ROLE: "no adapter that can be a BLE central",
    BleakBluetoothNotAvailableReason.POWERED_OFF: "the Bluetooth adapter is powered off",
    BleakBluetoothNotAvailableReason.DENIED_BY_SYSTEM: "the message bus refused this user",
}
_NO_BLUEZ: Final = "BlueZ is not running (org.bluez is not on the system bus)"
_REFUSALS: Final = {
    "org.freedesktop.DBus.Error.ServiceUnknown": _NO_BLUEZ,
    "org.freedesktop.DBus.Error.NameHasNoOwner": _NO_BLUEZ,
    NOT_READY: _REASONS[BleakBluetoothNotAvailableReason.POWERED_OFF],
    ACCESS_DENIED: "the message bus refused this user: its policy for org.bluez does not let it in",
}


def unavailable(error: BaseException) -> RadioUnavailable:
    """Return what says in one sentence what to look at first."""
    off = (
        isinstance(error, BleakBluetoothNotAvailableError)
        and error.reason is BleakBluetoothNotAvailableReason.POWERED_OFF
    ) or (isinstance(error, BleakDBusError) and error.dbus_error == NOT_READY)
    return RadioUnavailable(_why_unavailable(error), RadioCode.POWERED_OFF if off else RadioCode.UNAVAILABLE)


def _why_unavailable(error: BaseException) -> str:
    match error:
        case BleakBluetoothNotAvailableError():
            return f"{_REASONS.get(error.reason, 'Bluetooth cannot be used')} ({error.args[0]})"
        case BleakDBusError() if error.dbus_error in _REFUSALS:
            return _REFUSALS[error.dbus_error]
        case BleakError():
            return f"BlueZ refused to scan ({error})"
        case TimeoutError():
            return f"the radio did not answer in {SCAN_SWITCH_MS_MAX} ms"
        case _:
            return f"the system message bus cannot be used ({str(error) or type(error).__name__})"


@contextlib.contextmanager
def translated(code: RadioCode) -> Iterator[None]:
    """Turn bleak's faults into `code`, or into RadioUnavailable where the adapter itself is gone.

    A TimeoutError passes: each caller's own deadline is the only one there is.
    """
    try:
        yield
    except TimeoutError:
        raise
    except BleakBluetoothNotAvailableError as error:
        raise unavailable(error) from error
    except BleakDBusError as error:
        raise _of_bluez(error, code) from error
    except FAULTS as error:
        raise RadioError(code, str(error) or type(error).__name__) from error


class ConnectAbortedError(RadioError):
    """The air, not the lock, has ended a connection that was coming up."""


def _of_bluez(error: BleakDBusError, code: RadioCode) -> RadioError:
    """Tell BlueZ's errors apart by their names and by the codes that it puts where others put a sentence."""
    detail = error.dbus_error_details or ""
    if error.dbus_error == IN_PROGRESS:
        return RadioError(RadioCode.IN_PROGRESS, detail)
    if error.dbus_error == NOT_READY:
        return RadioUnavailable(_REFUSALS[NOT_READY], RadioCode.POWERED_OFF)
    if detail in NO_SLOT_DETAILS:
        return RadioError(RadioCode.NO_SLOT, detail)
    if detail in ABORTED_DETAILS:
        return ConnectAbortedError(code, detail)
    if error.dbus_error == ACCESS_DENIED:
        return RadioUnavailable(_REFUSALS[ACCESS_DENIED])
    return RadioError(code, str(error))


@contextlib.contextmanager
def logged_faults(event: str) -> Iterator[None]:
    """Go on after a fault: there is nothing else to try at this level, and the link's recovery ladder looks on."""
    try:
        yield
    except FAULTS as error:
        log.warning(event, fault=type(error).__name__, detail=str(error))
