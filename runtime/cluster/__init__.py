"""The one door to Ray's start: a private, loopback-only cluster that dies with its driver.

It starts and ends processes and decides nothing about what runs in them.
"""
