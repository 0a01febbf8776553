"""
Integration with systemd: notifications, inherited sockets, and the hand-over between generations of a daemon.

A daemon that is started by hand has no supervisor; then all of this does nothing.
"""

from .notify import Notifier
from .service_loop import ServiceLoop
from .supervisor import Supervisor

__all__ = ["Notifier", "ServiceLoop", "Supervisor"]
