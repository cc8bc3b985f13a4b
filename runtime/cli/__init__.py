"""The command line: a file for each noun. Parses, calls, prints; what it prints on stdout a program may read.

Nothing heavy is imported before a verb needs it, and nothing is decided here.
"""
