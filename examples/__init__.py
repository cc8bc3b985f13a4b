"""Workflows to learn from, one a file, about a plant, a bank, a ward and a laboratory.

Workflows import nothing of ours but `bailiwick`. `world.py` is a tool server to run them against, `tools.toml` says
what its tools may do; their tests, without a model or a world, are in `tests/examples`.
"""
