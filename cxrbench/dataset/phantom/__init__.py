"""Synthetic chest X-rays with known truth."""
