"""Traces: the events of a run as OpenTelemetry spans, to a collector or a file; off unless somebody asks for them.

They are made from the ledger and add nothing to it: what was lost on the way is made again by `bailiwick audit trace`.
Nothing here may hold up a run or fail it, and no content leaves the ledger in a span unless a person asked for that.
"""
