"""Measures durable runs side by side with DBOS and LangGraph, on one disk, in one run."""
