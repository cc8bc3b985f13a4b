"""Memory: texts that later runs may recall, in LanceDB. The only door to lancedb.

It keeps and finds; it never decides who may see what, but it never searches past the classification it is given, and
never in another tenant's table. Import `store.memory.memory`: lancedb loads with it and not before.
"""
