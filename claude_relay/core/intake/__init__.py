"""
The door's rules: a body as a caller sent it becomes a `Submission`, or `InvalidRequest` with every problem at once.

One module per concern; `body` has the order of things. Forgiving where a no-coder's tool is sloppy, exact everywhere
else: what is read differently from how it was written is said in a warning.
"""

from .body import parse, parse_options
from .context import IntakeContext
from .form import from_form

__all__ = ["IntakeContext", "from_form", "parse", "parse_options"]
