"""What agents think with: the registry of GGUF models, the engine, embeddings.

This room turns prompts into text and never acts on it. It imports no other room but the plain data of
store/records.
"""
