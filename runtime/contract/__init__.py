"""What an author of workflows sees: the decorator, the Run, the values it gives. No machinery in here.

`bailiwick.py` at the top re-exports it; the conductor implements it.
"""
