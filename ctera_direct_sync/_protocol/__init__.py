"""The Direct IO protocol: the block lists of the portal, and stored objects decoded to plaintext."""
