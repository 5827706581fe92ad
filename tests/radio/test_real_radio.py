"""The tests of the virtual radio once more, on two real controllers: `make test-radio ADAPTER=hci0 PERIPHERAL=usb:0`.

ADAPTER is the gateway's, an index or address that BlueZ has; PERIPHERAL is the lock's, a transport of Bumble's, which
takes the controller from the kernel. Whoever has both in one machine runs this; nobody else can.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from gatewayd.link.bleak_radio import BleakRadio
from simulator.peripheral import Peripheral
from tests.integration.test_virtual_radio import (  # noqa: F401 - collected here, with the fixtures below
    LOCK_ADDRESS,
    test_a_lock_with_another_address_is_not_found,
    test_a_sighting_carries_the_address_and_the_waiting_bit,
    test_attack_a_lock_that_floods_is_dropped,
    test_closing_twice_drops_the_link_once_and_the_lock_is_found_again,
    test_values_before_a_disconnect_are_read_and_then_the_loss_is_reported,
    test_values_pass_both_ways_in_order_at_the_negotiated_mtu,
)
from tests.support.echo_lock import EchoLock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ADAPTER: Final = os.environ.get("ADAPTER", "")
PERIPHERAL: Final = os.environ.get("PERIPHERAL", "")


def what_is_missing() -> str | None:
    """Return why nothing can be tested here, or None."""
    if not ADAPTER or not PERIPHERAL:
        return "ADAPTER (such as hci0) and PERIPHERAL (such as usb:0) do not say which; see `make test-radio`"
    if ADAPTER.startswith("hci") and not Path("/sys/class/bluetooth", ADAPTER).exists():
        return f"this machine has no adapter {ADAPTER}"
    return None


pytestmark = pytest.mark.skipif(what_is_missing() is not None, reason=f"no two real radios: {what_is_missing()}")


@pytest.fixture
async def lock() -> EchoLock:
    return EchoLock()


@pytest.fixture
async def peripheral(lock: EchoLock) -> AsyncIterator[Peripheral]:
    async with Peripheral(hci=PERIPHERAL, handler=lock, address=LOCK_ADDRESS) as peripheral:
        yield peripheral


@pytest.fixture
async def radio(peripheral: Peripheral) -> AsyncIterator[BleakRadio]:
    radio = BleakRadio(adapter=ADAPTER)
    yield radio
    await radio.close()
    del peripheral
