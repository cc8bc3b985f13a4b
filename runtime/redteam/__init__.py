"""The red team: attacks on the real runtime, each in a file, with what must happen, and the means to make them.

Everything that an attack meets is the product's own: conductor, gate, ledger, tool host, approvals, gateway. Only the
model is scripted, and it does whatever the attacker wants. Nothing here is used by anything but `bailiwick redteam`.
"""
