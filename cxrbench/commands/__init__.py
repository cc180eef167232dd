"""A module a verb: its options, and what it says."""
