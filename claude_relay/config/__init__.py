"""
Settings: one table of options, read once into one frozen object.

    settings = load()
    settings.call_timeout, settings.origin("RELAY_CALL_TIMEOUT")
"""

from claude_relay.core.rates import Rate

from .addresses import store_passwords
from .docs import write_env_example, write_table
from .loader import load
from .option import Option
from .pricelist import load_prices
from .settings import Settings
from .table import OPTIONS

__all__ = [
    "OPTIONS",
    "Option",
    "Rate",
    "Settings",
    "load",
    "load_prices",
    "store_passwords",
    "write_env_example",
    "write_table",
]
