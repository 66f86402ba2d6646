"""One HTTP request and its response: URLs, proxies, TLS, connections, sessions, content codings."""
