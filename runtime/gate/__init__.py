"""The gate: one interface, one concern per wrapper.

    Labelled(Planned(Governed(Approved(Budgeted(Effectful(host))))))

Every call an agent or a workflow makes passes all of them, and nothing else calls a tool. The gate never asks a
model for its opinion, and any error in it is a denial.
"""
