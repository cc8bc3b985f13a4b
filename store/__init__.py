"""What must not be lost: the ledger and its archive (DuckDB), keys, memory (LanceDB).

This room keeps and proves; it never decides and never acts. It imports no other room. DuckDB has one door,
store/ledger; LanceDB has one, store/memory.
"""
