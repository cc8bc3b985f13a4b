"""Measures how near the engine comes to what a device's memory allows, beside llama.cpp's own server."""
