"""The workflows that come with Bailiwick, written against the public contract only."""
