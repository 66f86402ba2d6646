"""The engine and the readers under a scheduler that a seed controls: every interleaving can occur."""
