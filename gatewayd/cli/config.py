"""`gatewayd config`: what a configuration may say. Both commands print, and write no file."""

from __future__ import annotations

from gatewayd import exits
from gatewayd.cli.say import give
from gatewayd.config import example


def init() -> int:
    """Print a commented configuration with every key and its default."""
    give(example.example())
    return exits.OK


def schema() -> int:
    """Print the JSON Schema of the configuration, for editors."""
    give(example.schema())
    return exits.OK
