"""Measures what is lost and what is done twice when the runtime is killed, or the power goes, a thousand times."""
