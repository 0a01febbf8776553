"""The use cases: each opens a transaction, loads, asks the machine and saves. `Relay` is the one door to them."""

from .door import Relay
from .values import Accepted, Claimed, InBatch, Page, Ref, ToSend
from .work import Rooms

__all__ = ["Accepted", "Claimed", "InBatch", "Page", "Ref", "Relay", "Rooms", "ToSend"]
