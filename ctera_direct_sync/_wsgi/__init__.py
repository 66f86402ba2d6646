"""What is behind :mod:`ctera_direct_sync.wsgi`."""
