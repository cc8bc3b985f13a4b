"""AgentDojo's tasks and attacks against the gate, with a model that does whatever an attacker wants."""
