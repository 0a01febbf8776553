"""Parsing and formatting of text values."""
