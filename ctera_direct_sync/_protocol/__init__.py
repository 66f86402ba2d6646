"""The Direct IO protocol: block lists from the portal, and stored objects decoded to plaintext."""
