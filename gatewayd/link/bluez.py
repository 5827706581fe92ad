"""BlueZ over D-Bus: what bleak has no public name for. The only importer of dbus-fast."""

from __future__ import annotations

from typing import Final

from dbus_fast.errors import DBusFastError

BUS_FAULTS: Final = (DBusFastError, EOFError, OSError)
"""What a missing, refusing or dying message bus raises through bleak, beside bleak's own errors."""
