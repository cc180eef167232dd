"""What scores are worth: pure functions of NumPy arrays, none of which needs torch."""
