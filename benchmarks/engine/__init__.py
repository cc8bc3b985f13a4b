"""Measures the engine side by side with llama.cpp's own server, in one run, on the same requests."""
