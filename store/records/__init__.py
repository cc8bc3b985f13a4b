"""Plain data for every room: events, labels, identities, digests, canonical JSON, errors.

This is the one package that all rooms may import. It holds values and pure functions, never I/O, and
imports nothing of Bailiwick.
"""
