"""Measurements, each run with `python -m benchmarks.NAME`. They use the product; the product never imports them."""
