"""Measurements outside the tests: each checks its results too, and says what it ran on."""
