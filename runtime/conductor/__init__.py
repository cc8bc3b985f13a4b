"""Drives each run, step by step, and brings it back after a crash by replaying what the ledger recorded.

The conductor decides nothing about permission (the gate does) and writes nothing but events (the ledger does).
"""
