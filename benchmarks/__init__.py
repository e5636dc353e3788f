"""Measurements, never tests: nothing in the suite depends on a time."""
