"""Tokens: what lets somebody in who does not come over the socket. The key stays with the site, the book in its log."""
