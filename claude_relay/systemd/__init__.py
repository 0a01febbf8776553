"""
What systemd and a daemon say to each other: notifications, sockets handed down, and one generation after another.

A daemon started by hand has nobody above it; then all of this is silent and costs nothing.
"""

from .notify import Notifier
from .service_loop import ServiceLoop
from .supervisor import Supervisor

__all__ = ["Notifier", "ServiceLoop", "Supervisor"]
