"""
Settings: one table of options, read once into one frozen object.

    settings = load()
    settings.call_timeout, settings.origin("RELAY_CALL_TIMEOUT")
"""

from claude_relay.core.rates import Rate

from .loader import load
from .option import Option
from .settings import Settings
from .table import OPTIONS, SECTIONS

__all__ = ["OPTIONS", "SECTIONS", "Option", "Rate", "Settings", "load"]
