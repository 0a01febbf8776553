"""The whole road through real processes, judged by what the caller, the upstream and the receiver saw."""

from __future__ import annotations

import pytest

from tests.support.eventually import eventually
from tests.support.fake_claude import FakeClaude, Wait, answer, head
from tests.support.receiver import Receiver
from tests.support.rig import Rig

pytestmark = pytest.mark.process
