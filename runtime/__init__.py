"""Workflows, durable runs, the gate, agents, actors, gateway, command line.

This room brings the three below it together: agents propose, the gate decides, the ledger remembers. It never
imports the terminal dashboard, and nothing in it acts on the world but through the gate.
"""
