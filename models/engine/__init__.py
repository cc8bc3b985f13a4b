"""The engine that runs GGUF models. Importing it prepares this process for llama.cpp, which runner.py then loads."""

import os

# llama.cpp's threads meet several hundred times for each token. GNU OpenMP spins while it waits, unless told not to
# before it is loaded: on cores that other processes want too, that made answers up to five times slower (measured:
# 11 against 49 tokens/s on two busy cores).
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
