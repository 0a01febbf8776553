"""All statements that read and write, as one class."""

from __future__ import annotations

from .acks import AckWrites
from .alerts import AlertWrites
from .batches import BatchWrites
from .collections import CollectionWrites
from .control import ControlWrites
from .destinations import DestinationWrites
from .files import FileWrites
from .jobs import JobWrites
from .metrics import MetricWrites
from .money import MoneyWrites
from .purge import PurgeWrites
from .reads import Reads
from .requests import RequestWrites
from .search_index import SearchIndexWrites
from .templates import TemplateWrites


class Writes(
    JobWrites,  # with deliveries, conversations and events
    RequestWrites,
    DestinationWrites,
    AckWrites,
    BatchWrites,
    MoneyWrites,
    MetricWrites,
    FileWrites,
    AlertWrites,
    ControlWrites,
    PurgeWrites,
    TemplateWrites,
    CollectionWrites,
    SearchIndexWrites,
    Reads,
):
    """Implements `ports.Transaction` over one open transaction, which several callers may share with their new jobs."""
