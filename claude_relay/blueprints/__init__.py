"""Scenarios for import into Make.com and n8n, with the URL of a relay filled in. Pure: values in, JSON out."""

from .values import (
    KEY_PLACEHOLDER,
    TEMPLATE_PLACEHOLDER,
    VARIANTS,
    WEBHOOK_PLACEHOLDER,
    Blank,
    Scenario,
    scenarios,
)

__all__ = [
    "KEY_PLACEHOLDER",
    "TEMPLATE_PLACEHOLDER",
    "VARIANTS",
    "WEBHOOK_PLACEHOLDER",
    "Blank",
    "Scenario",
    "scenarios",
]
