"""What agents can do: tool records, toolsets, MCP.

This room talks to the world. It decides nothing: whether a call may happen was settled in the gate before it came
here. It imports no other room but the plain data of store/records.
"""
