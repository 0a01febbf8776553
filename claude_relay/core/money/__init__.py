"""Prices, estimates and spend."""
