"""The models that are in memory: loaded when first asked for, and the least used unloaded when there is no room.

It holds engines and asks nothing of them.
"""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from models.model import Model
from store.records.errors import SettingsError, Unreachable

if TYPE_CHECKING:
    from models.engine.engine import Engine


@dataclass(slots=True, eq=False)
class _Seat:
    """One model's place. `ready` yields its engine once it is loaded."""

    model: Model
    ready: "Future[Engine]" = field(default_factory=Future)
    used: float = 0.0
    bytes: int = 0

    @property
    def engine(self) -> "Engine | None":
        return self.ready.result() if self.ready.done() and not self.ready.exception() else None


class Residents:
    """Engines by model. `limit` is how many bytes they may take together, on host and device."""

    def __init__(self, load: "Callable[[Model], Engine]", limit: int) -> None:
        self._load, self._limit = load, limit
        self._lock, self._loading = threading.Lock(), threading.Lock()
        self._seats: dict[str, _Seat] = {}
        self._closed = False

    def get(self, model: Model) -> "Engine":
        """The engine of a model, loaded if it is not there. Two callers never load the same model twice.

        Blocks while it is loaded, and nobody who asks for another model. Raises as `load` does; SettingsError if the
        model does not fit the limit, Unreachable if it does not beside those that are busy.
        """
        with self._lock:
            if self._closed:
                raise Unreachable("the model server is closed", "", "start it again")
            seat = self._seats.get(model.sha256)
            mine = seat is None or (seat.engine is not None and seat.engine.closed)
            if seat is None or mine:
                seat = self._seats[model.sha256] = _Seat(model)
            seat.used = time.monotonic()
        if mine:
            self._fill(seat)
        return seat.ready.result()

    def all(self) -> "list[Engine]":
        """The engines that are loaded, the least used first."""
        with self._lock:
            seats = sorted(self._seats.values(), key=lambda seat: seat.used)
        return [seat.engine for seat in seats if seat.engine]

    def close(self) -> None:
        """Unloads all; nothing is loaded afterwards. May be called twice."""
        with self._lock:
            self._closed = True
        with self._loading:
            for engine in self.all():
                engine.close()

    def _fill(self, seat: _Seat) -> None:
        """Loads the model of a seat, one at a time, so that two do not take the same room."""
        engine = None
        try:
            with self._loading:
                if self._closed:
                    raise Unreachable("the model server is closed", "", "start it again")
                self._make_room(seat, seat.model.bytes)
                engine = self._load(seat.model)
                self._make_room(seat, engine.host_bytes + engine.device_bytes)
                seat.bytes = engine.host_bytes + engine.device_bytes
            seat.ready.set_result(engine)
        except BaseException as error:
            if engine is not None:
                engine.close()
            with self._lock:
                if self._seats.get(seat.model.sha256) is seat:
                    del self._seats[seat.model.sha256]
            seat.ready.set_exception(error)

    def _make_room(self, seat: _Seat, needed: int) -> None:
        """Unloads the least used models that nobody waits for, until there is room for `needed` bytes."""
        name = seat.model.name
        if needed > self._limit:
            what = f"the model takes {needed // 2**20} MiB, and models may take {self._limit // 2**20}"
            raise SettingsError(what, name, "raise models_memory_mb, or use a smaller model or context")
        while True:
            with self._lock:
                if sum(each.bytes for each in self._seats.values()) + needed <= self._limit:
                    return
                idle = [each for each in self._seats.values() if each.engine and not each.engine.busy]
                if not idle:
                    raise Unreachable("the models in memory are all busy", name, "raise models_memory_mb, or wait")
                oldest = min(idle, key=lambda each: each.used)
                del self._seats[oldest.model.sha256]
            if oldest.engine:
                oldest.engine.close()
