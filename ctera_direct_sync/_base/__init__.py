"""Foundations that know nothing of portals and files: synchronisation, cancellation, retries, buffers."""
