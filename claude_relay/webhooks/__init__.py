"""Outgoing HTTP to URLs chosen by callers: webhooks and file downloads, behind the SSRF guard."""
