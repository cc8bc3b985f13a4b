"""The ledger: the events and their archive, in one DuckDB file. The only door to duckdb.

    ledger    open, append, close, and what it can be asked
    sealer    turns drafts into events: number, time, chain
    writer    the one thread that writes, many events to a commit
    tree      the Merkle tree over the events, in tiles; `tiles` are its rows
    notary    signs checkpoints of the tree
    mirror    keeps them in another place
    proofs    that an event is there, that the ledger continues what it was
    watermark how far the disk is, and who waits for it
    archive   payloads: keyed ids, compression, encryption under the keys of store/keys
    keeper    legal holds, shredding, the sweep of what is out of date
    needs     what must stay, as the events' bytes say; `marks` tell whose word a tombstone is
    schema    the tables, as projections of an event's fields
    reader    events and runs out of the tables
    backup    copies of a ledger at one event; `copies` opens them
    restore   puts one in a ledger's place; `replaced` is what that one still told, `gap` the event that says so
    verify    recompute everything and compare; `contents` does so for the archive
    database  the file and the keystore beside it, opened
    format    the number that a database says; `steps` lead from each to the next
    upgrade   what an earlier version wrote is written anew, by an event: `original` keeps a copy before, `census` sees
              that the events are the same, `successor` puts the new file in the old one's place
    query     one SELECT of an auditor, run by `sandbox` in a process of its own

Nothing in here decides or acts, nothing is acknowledged before it is on disk, and no event is ever
changed or removed; a payload only by the keeper, with an event that says so.
Import the modules, not the package: duckdb loads with them and not before.
"""
