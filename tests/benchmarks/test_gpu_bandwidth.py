"""Where the bandwidth comes from; the CUDA driver is a small library with its functions, over the host's memory."""

import math
import subprocess
from pathlib import Path

import pytest

from benchmarks.gpu import cuda
from benchmarks.gpu.bandwidth import data_sheet, measured_read, of_card, of_processor

DRIVER = r"""
#include <stdlib.h>
#include <string.h>
typedef int Code;
static int current, blocks;
Code cuInit(unsigned flags) { return flags; }
Code cuDeviceGet(int *device, int number) { *device = 7; return number; }
Code cuDeviceGetName(char *name, int size, int device) { strncpy(name, "NVIDIA H200", size); return device != 7; }
Code cuDevicePrimaryCtxRetain(void **context, int device) { *context = &current; return device != 7; }
Code cuCtxSetCurrent(void *context) { current = context == &current; return !current; }
Code cuDevicePrimaryCtxRelease_v2(int device) { current = 0; return blocks || device != 7; }
Code cuMemAlloc_v2(unsigned long long *address, size_t size) {
    if (!current || size > LIMIT) return 2;
    *address = (unsigned long long)malloc(size);
    blocks++;
    return 0;
}
Code cuMemsetD8_v2(unsigned long long address, unsigned char byte, size_t size) {
    memset((void *)address, byte, size);
    return 0;
}
Code cuMemcpyDtoDAsync_v2(unsigned long long to, unsigned long long from, size_t size, void *stream) {
    memcpy((void *)to, (void *)from, size);
    return stream != 0;
}
Code cuCtxSynchronize(void) { return !current; }
Code cuMemFree_v2(unsigned long long address) { free((void *)address); blocks--; return 0; }
"""


def driver(folder: Path, limit: int) -> str:
    """A driver whose device has `limit` bytes for one block."""
    source, library = folder / "driver.c", folder / f"driver-{limit}.so"
    source.write_text(DRIVER)
    subprocess.run(["gcc", "-shared", "-fPIC", f"-DLIMIT={limit}ul", "-o", library, source], check=True)
    return str(library)


def test_the_driver_tells_the_name_and_copies(tmp_path: Path) -> None:
    library = driver(tmp_path, 2**20)
    assert cuda.name(library) == "NVIDIA H200"
    assert cuda.copied_per_s(library, 2**20) > 0


def test_a_device_without_room_is_no_crash(tmp_path: Path) -> None:
    with pytest.raises(cuda.NoCuda, match="cuMemAlloc_v2 failed with code 2"):
        cuda.copied_per_s(driver(tmp_path, 2**10), 2**20)


def test_no_driver_is_an_error_that_says_so() -> None:
    with pytest.raises(cuda.NoCuda, match="no CUDA driver"):
        cuda.name("libnone.so")


@pytest.mark.parametrize(
    ("device", "gigabytes"),
    [
        ("NVIDIA H200", 4800),
        ("NVIDIA H100 80GB HBM3", 3352),
        ("NVIDIA H100 PCIe", 2039),
        ("NVIDIA A100-SXM4-80GB", 2039),
        ("NVIDIA A100-SXM4-40GB", 1555),
        ("NVIDIA A10", 600),
        ("NVIDIA GeForce RTX 4090", 1008),
    ],
)
def test_data_sheets(device: str, gigabytes: int) -> None:
    assert data_sheet(device) == gigabytes * 1e9


@pytest.mark.parametrize("device", ["NVIDIA GeForce RTX 4090 Laptop GPU", "NVIDIA GeForce RTX 3090 Ti", "Radeon"])
def test_a_device_that_is_not_listed_is_not_taken_for_another(device: str) -> None:
    assert math.isnan(data_sheet(device))


def test_given_goes_before_measured_and_measured_before_the_data_sheet() -> None:
    def refuse() -> float:
        raise cuda.NoCuda("there is no CUDA driver")

    given, measured, sheet, unknown = (
        of_card("NVIDIA H200", 1e9, refuse),
        of_card("NVIDIA H200", copy=lambda: 2e9),
        of_card("NVIDIA H200", copy=refuse),
        of_card("Radeon", copy=refuse),
    )
    assert (given.bytes_per_s, given.source, given.sheet) == (1e9, "given", 4.8e12)
    assert (measured.bytes_per_s, measured.source) == (2e9, "measured")
    assert (sheet.bytes_per_s, sheet.source) == (4.8e12, "data sheet")
    assert (math.isnan(unknown.bytes_per_s), unknown.source) == (True, "not known")


def test_the_processor_is_measured_unless_its_bandwidth_is_given() -> None:
    assert of_processor(1, 5e9).bytes_per_s == 5e9
    # Slower than 10 MB/s no memory is, faster than 100 TB/s none: the bytes and seconds are the right ones.
    assert 1e7 < measured_read(2, 2**24) < 1e14
