"""The gateway daemon: keeps a lock within reach, decides who may open, records everything."""

from __future__ import annotations

from typing import Final

__version__: Final = "0.1.0"
