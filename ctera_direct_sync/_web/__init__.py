"""What the responses of WSGI and ASGI applications share."""
