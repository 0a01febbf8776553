"""
Validation of requests: a submitted body becomes a `Submission`, or `InvalidRequest` with every problem at once.

One module per field or concern; `body` has the order. Values that sloppy no-code tools send (numbers as strings, "" for
blank fields) are accepted, everything else is strict; each reinterpretation is reported in a warning.
"""

from .body import parse, parse_options
from .context import IntakeContext
from .form import from_form

__all__ = ["IntakeContext", "from_form", "parse", "parse_options"]
