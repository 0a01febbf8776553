"""
Settings: one table of options, read once into one frozen object.

    settings = load()
    settings.call_timeout, settings.origin("RELAY_CALL_TIMEOUT")
"""

from ..core.text.rates import Rate
from .cautions import cautions
from .docs import write_env_example, write_table
from .loader import load
from .option import Option
from .price_file import load_prices
from .secret_text import secret_problem
from .settings import Settings
from .table import OPTIONS
from .urls import store_passwords

__all__ = [
    "OPTIONS",
    "Option",
    "Rate",
    "Settings",
    "cautions",
    "load",
    "load_prices",
    "secret_problem",
    "store_passwords",
    "write_env_example",
    "write_table",
]
