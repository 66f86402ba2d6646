"""Simulations: crashes of a download at every moment, and whole clients in virtual time."""
