"""A process that holds a ledger and answers for it on the data folder's socket, as a runtime does.

    holder.py DATA_DIR

Ends when its standard input does.
"""

import asyncio
import sys
from pathlib import Path
from typing import Any

from runtime.gateway.server import Gateway
from runtime.identity import user_of_uid
from runtime.queries import LedgerQueries
from runtime.settings import Settings
from store.ledger.ledger import Ledger


async def main() -> None:
    settings = Settings.load(data_dir=Path(sys.argv[1]))
    with Ledger.open(settings.data_dir) as ledger:
        verbs: Any = LedgerQueries(ledger)
        gateway = Gateway(settings.socket, lambda _user: verbs, set, identify=user_of_uid)
        await gateway.start()
        print("up", flush=True)
        await asyncio.to_thread(sys.stdin.read)
        await gateway.close()


asyncio.run(main())
