"""Versions of tables: announcing each one exactly once, and subscribing to what was announced."""
