"""The uplink: events out to the broker, signed commands and state in."""
