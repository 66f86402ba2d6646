"""The parts of `ctera_direct_sync.aio`."""
