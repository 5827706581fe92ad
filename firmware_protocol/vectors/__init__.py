"""Test vectors: published ones run against this code, and this code's own, for others (docs/protocol.md §17).

`python -m firmware_protocol.vectors` is a tool for firmware teams and CI. No other module of the package imports it:
the daemon never pays for it.
"""
