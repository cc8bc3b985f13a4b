"""The keystore: what payloads are encrypted with, in files apart from the ledger's database.

    files      private files: written whole or not at all, and destroyed by overwriting
    scope      whose content a key is for, and what an order is about
    cipher     AES-256-GCM, HKDF, scrypt
    site_key   the one key above all: in a file, from a passphrase, or in the system's keyring
    keystore   the data keys, each wrapped under the site key; `book` is what its file says
    backup     both, under a passphrase, in one file

No key is ever in a database, a log, an event, an argument or an environment, and none is ever made anew over a keystore
that another one opens.
"""
