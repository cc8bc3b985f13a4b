"""The site's directory: who its people are, read from a file that somebody wrote or another directory exported.

It never asks a server, never follows a reference to another file, and takes a file whole or not at all.
"""
