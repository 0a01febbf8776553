"""All statements that read, as one class."""

from __future__ import annotations

from .acks import AckReads
from .alerts import AlertReads
from .batches import BatchReads
from .collections import CollectionReads
from .control import ControlReads
from .conversations import ConversationReads
from .damage import DamageReads
from .deliveries import DeliveryReads
from .destinations import DestinationReads
from .events import EventReads
from .files import FileReads
from .jobs import JobReads
from .metrics import MetricReads
from .money import MoneyReads
from .purge import PurgeReads
from .requests import RequestReads
from .search_index import SearchIndexReads
from .tallies import TallyReads
from .templates import TemplateReads


class Reads(
    DamageReads,
    JobReads,
    RequestReads,
    EventReads,
    DeliveryReads,
    DestinationReads,
    AckReads,
    BatchReads,
    MoneyReads,
    MetricReads,
    ConversationReads,
    FileReads,
    AlertReads,
    ControlReads,
    PurgeReads,
    TallyReads,
    TemplateReads,
    CollectionReads,
    SearchIndexReads,
):
    """Implements `ports.ReadTransaction` over one connection, at one time."""
