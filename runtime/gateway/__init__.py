"""The way in: a Unix socket that knows its callers, and the typed client that command line and dashboard share.

The gateway decides nothing. It finds out who is calling, checks the shape of what they ask, and hands it to the core.
"""
