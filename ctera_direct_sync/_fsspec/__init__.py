"""The parts of :mod:`ctera_direct_sync.filesystem`: its instances and its files."""
