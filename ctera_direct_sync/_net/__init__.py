"""One HTTP request and its response: URLs, proxies, connections, sessions, content codings, errors."""
