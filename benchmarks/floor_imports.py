"""The floor of memory and start: the run-time packages and nothing of ours, in a process of its own.

The list is fixed. It names what a gateway cannot do without, as a gateway imports it; a package added here to make a
ratio look better would be a lie. Prints JSON: `import_ms`, wall time of the imports; `rss_kib`, VmRSS after them.
"""
# ruff: noqa: E402, F401 - the order is the measurement: clock, list, clock, everything else

from __future__ import annotations

import time

started_s = time.perf_counter()

import apsw
import bleak
import bleak.backends.bluezdbus.client
import bleak.backends.bluezdbus.scanner
import cbor2
import cyclopts
import dbus_fast.aio
import nacl.bindings
import nacl.signing
import paho.mqtt.client
import pydantic_settings
import structlog

finished_s = time.perf_counter()

import json

from benchmarks.memory import resident_kib

if __name__ == "__main__":
    print(json.dumps({"import_ms": (finished_s - started_s) * 1_000, "rss_kib": resident_kib()}), flush=True)
