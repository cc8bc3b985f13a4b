"""Where the arguments of a call come from: the user's own words, a constant, a trusted source, or nowhere that counts.

Decided in the core from what the core itself has seen, by whole tokens and types; never by a model, and never by what a
call says of itself. It knows no meaning: a value counts because the user typed it, not because they meant it so.
"""
