"""Faults, and what comes of them: the matrix, the soak and what both are made of."""
