"""The use cases: each opens a transaction, loads, asks the machine and saves. `Relay` is the one door to them."""

from .door import Relay
from .gate import Rooms
from .values import Accepted, Claimed, InBatch, Page, Ref, ToSend

__all__ = ["Accepted", "Claimed", "InBatch", "Page", "Ref", "Relay", "Rooms", "ToSend"]
