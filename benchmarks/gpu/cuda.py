"""The first NVIDIA GPU as its driver shows it: its name, and how fast it copies within its own memory.

Through libcuda, which is there wherever the GPU can be used at all; no toolkit and no package is needed. The functions
are those of NVIDIA's CUDA Driver API.
"""

import ctypes
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

LIBRARY = "libcuda.so.1"
COPY_BYTES = 2**30
COPIES = 20
_NAME_BYTES = 256


class NoCuda(RuntimeError):
    """There is no NVIDIA GPU that can be used, or it refused; the message says which."""


def name(library: str = LIBRARY) -> str:
    """The GPU's name, as "NVIDIA H200". Raises NoCuda."""
    driver = _Driver(library)
    buffer = ctypes.create_string_buffer(_NAME_BYTES)
    driver.call("cuDeviceGetName", buffer, ctypes.c_int(_NAME_BYTES), driver.device)
    return buffer.value.decode("utf-8", "replace")


def copied_per_s(library: str = LIBRARY, size: int = COPY_BYTES) -> float:
    """Bytes a second that a copy of `size` bytes within the GPU's memory reads and writes, both counted.

    Raises NoCuda.
    """
    driver = _Driver(library)
    with driver.context(), driver.memory(size) as source, driver.memory(size) as target:
        for copies in (1, COPIES):  # the first one wakes the device
            started = time.perf_counter()
            for _ in range(copies):
                driver.call("cuMemcpyDtoDAsync_v2", target, source, ctypes.c_size_t(size), ctypes.c_void_p(None))
            driver.call("cuCtxSynchronize")
            seconds = time.perf_counter() - started
    return 2 * size * COPIES / seconds


class _Driver:
    """The driver and its first device."""

    def __init__(self, library: str) -> None:
        try:
            self._library: Any = ctypes.CDLL(library)
        except OSError as error:
            raise NoCuda("there is no CUDA driver") from error
        self.call("cuInit", ctypes.c_uint(0))
        self.device = ctypes.c_int()
        self.call("cuDeviceGet", ctypes.byref(self.device), ctypes.c_int(0))

    def call(self, function: str, *arguments: Any) -> None:
        """Calls a function of the driver. Raises NoCuda if it reports an error."""
        code = getattr(self._library, function)(*arguments)
        if code != 0:
            raise NoCuda(f"{function} failed with code {code}")

    @contextmanager
    def context(self) -> Iterator[None]:
        """The device's primary context, current on this thread."""
        context = ctypes.c_void_p()
        self.call("cuDevicePrimaryCtxRetain", ctypes.byref(context), self.device)
        try:
            self.call("cuCtxSetCurrent", context)
            yield
        finally:
            self.call("cuDevicePrimaryCtxRelease_v2", self.device)

    @contextmanager
    def memory(self, size: int) -> Iterator[ctypes.c_uint64]:
        """So many bytes of the device's memory; the address."""
        address = ctypes.c_uint64()
        self.call("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(size))
        try:
            # What was never written need not be there: a copy of it would measure nothing.
            self.call("cuMemsetD8_v2", address, ctypes.c_ubyte(1), ctypes.c_size_t(size))
            yield address
        finally:
            self.call("cuMemFree_v2", address)
