"""Frozen plans: what a plan may be made of, its grammar, the check before it is frozen, and how it is carried out.

Nothing in here reads untrusted text before the plan is frozen, and nothing that is read after that changes the plan.
"""
