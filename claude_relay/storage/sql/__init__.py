"""Statements and record mappings that both engines share."""
