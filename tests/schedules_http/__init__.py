"""HTTP under a model: the response reader and the keep-alive pool against bytes and times.

`model` is a server in virtual time, `reference` says what its bytes mean, `exchange` compares the two.
"""
