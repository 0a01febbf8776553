"""
Settings: one table of options, read once into one frozen object.

    settings = load()
    settings.call_timeout, settings.origin("RELAY_CALL_TIMEOUT")
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..core.lazy_names import lazy_names

if TYPE_CHECKING:
    from ..core.text.rates import Rate
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
    "load",
    "load_prices",
    "secret_problem",
    "store_passwords",
    "write_env_example",
    "write_table",
]

__getattr__ = lazy_names(
    __name__,
    {
        ".core.text.rates": ("Rate",),
        "docs": ("write_env_example", "write_table"),
        "loader": ("load",),
        "option": ("Option",),
        "price_file": ("load_prices",),
        "secret_text": ("secret_problem",),
        "settings": ("Settings",),
        "table": ("OPTIONS",),
        "urls": ("store_passwords",),
    },
)
