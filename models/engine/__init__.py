"""The engine that runs GGUF models. Importing it prepares this process for llama.cpp, which runner.py then loads."""

import os

# llama.cpp's threads meet several hundred times for each token. GNU OpenMP lets them spin there for milliseconds, which
# takes the time from the thread that is waited for if other processes want the cores too; not to spin at all costs half
# of the speed on a quiet machine. Some thousand turns are fast on both. (Measured on two cores, tokens/s at 1 and 16
# sequences: quiet 111 and 230, without any spinning 44 and 186, with the default 105 and 225; beside two busy processes
# 43 and 113, without 53 and 101, with the default 34 and 54.) It is read once, when the library is loaded.
os.environ.setdefault("GOMP_SPINCOUNT", "3000")
