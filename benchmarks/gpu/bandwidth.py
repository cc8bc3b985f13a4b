"""The memory bandwidth of a device: what was given, else what is measured, else what its maker's data sheet says.

On a CPU, threads read a large array, each its part, and what they read is counted. On an NVIDIA GPU a copy within its
memory counts twice, as read and written (cuda.py).
"""

import math
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import numpy as np

from benchmarks.gpu import cuda

Source = Literal["given", "measured", "data sheet", "not known"]
ARRAY_BYTES = 2**29
"""Many times larger than the caches of most processors."""
PASSES = 5
DATA_SHEETS = {
    "H200": 4800,
    "H100 NVL": 3938,
    "H100 PCIe": 2039,
    "H100": 3352,
    "A100-SXM4-80GB": 2039,
    "A100 80GB PCIe": 1935,
    "A100": 1555,
    "L40S": 864,
    "L4": 300,
    "A10": 600,
    "T4": 320,
    "RTX 5090": 1792,
    "RTX 4090": 1008,
    "RTX 3090": 936,
}
"""GB/s by words of the name that the driver reports, the longer names of a family first."""
VARIANTS = {"Ti", "SUPER", "Laptop", "Max"}
"""Words in the names of devices that are another than the one without."""


@dataclass(frozen=True, slots=True)
class Bandwidth:
    """Bytes a second, NaN if they are not known, and where they are from. `sheet` is the data sheet's, NaN if none."""

    bytes_per_s: float
    source: Source
    sheet: float = math.nan


def of_processor(threads: int, given: float = 0.0) -> Bandwidth:
    """The bandwidth with which so many threads read the machine's memory; `given` bytes a second if above 0."""
    return Bandwidth(given, "given") if given else Bandwidth(measured_read(threads), "measured")


def of_card(device: str, given: float = 0.0, copy: Callable[[], float] = cuda.copied_per_s) -> Bandwidth:
    """The bandwidth of the first GPU, whose name is `device`; `given` bytes a second if above 0."""
    sheet = data_sheet(device)
    if given:
        return Bandwidth(given, "given", sheet)
    try:
        return Bandwidth(copy(), "measured", sheet)
    except cuda.NoCuda:
        return Bandwidth(sheet, "not known" if math.isnan(sheet) else "data sheet", sheet)


def data_sheet(device: str) -> float:
    """Bytes a second of a device with this name by its maker's data sheet; NaN for one that is not listed."""
    words = set(re.split(r"[\s-]+", device))
    for name, gigabytes in DATA_SHEETS.items():
        if set(re.split(r"[\s-]+", name)) <= words and not words & VARIANTS:
            return gigabytes * 1e9
    return math.nan


def measured_read(threads: int, size: int = ARRAY_BYTES) -> float:
    """Bytes a second that so many threads read out of an array of `size` bytes: the best of some passes."""
    parts = np.array_split(np.ones(size // 8, np.uint64), threads)
    seconds = math.inf
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(PASSES):
            started = time.perf_counter()
            # A sum of integers does nothing but read; numpy holds no lock meanwhile.
            total = sum(int(part) for part in pool.map(np.sum, parts))
            seconds = min(seconds, time.perf_counter() - started)
            assert total == size // 8
    return size // 8 * 8 / seconds
