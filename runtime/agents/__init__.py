"""Router, worker and reviewer: what they put before a model and what they make of its answer.

Agents are untrusted. They get a context and an allowance, hold a model and nothing else, and return proposals; no
agent can call a tool, read a file or write an event.
"""
