"""bleak's own connection to BlueZ, which it shares among all its scanners and clients and has no public name for.

The tests on a mock and on a fake of BlueZ look after what is assumed here. Nothing of bleak's BlueZ is imported before
it has been used: other backends do without.
"""

from __future__ import annotations

import asyncio


def reaches_bluez() -> bool:
    """Whether bleak has a connection that lives.

    To send on a dead one is worse than useless: dbus-fast then works on the number of a descriptor that it has closed,
    which may be another connection's by now, and leaves an error behind that nobody can catch.
    """
    from bleak.backends.bluezdbus import manager  # noqa: PLC0415 - see the module

    held = manager._global_instances.get(asyncio.get_running_loop())  # noqa: SLF001 - see the module
    return held is not None and held._bus is not None and held._bus.connected  # noqa: SLF001


def forget_bluez() -> None:
    """Have bleak forget its connection and what it knows of BlueZ's objects.

    A BlueZ that dies does not say for each of its objects that it is gone, and bleak would go on to believe in them: it
    skips `Connect` for a device that was connected under the former owner. Closing its connection is what bleak itself
    understands: it tells every client that it is disconnected. Who comes next finds none, and builds everything anew.
    """
    from bleak.backends.bluezdbus import manager  # noqa: PLC0415 - see the module

    held = manager._global_instances.pop(asyncio.get_running_loop(), None)  # noqa: SLF001 - see the module
    if held is not None and held._bus is not None:  # noqa: SLF001
        held._bus.disconnect()  # noqa: SLF001
