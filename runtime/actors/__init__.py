"""The parts of the runtime that are processes of their own: core, model server, tool host, agents. Ray's door.

An actor here is a thin wrapper around a plain class that knows nothing of Ray. No prompt, argument or result is
ever printed: a worker's output lands in Ray's log folder.
"""

import contextlib
import os
import sys

from runtime.cluster import environment
from store.records.errors import Unreachable

# In a worker Ray is there already, with the environment that its driver gave it.
with contextlib.nullcontext() if "ray" in sys.modules else environment.switched(os.environ):
    try:
        import ray as ray
    except ImportError as error:
        raise Unreachable("Ray is not installed", str(error.name or ""), "run `make setup`") from error
