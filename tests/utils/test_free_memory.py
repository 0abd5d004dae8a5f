import sys

import pytest

from dld.utils import free_memory
from dld.utils.free_memory import MemoryReturner, return_free_memory


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's malloc_trim is what returns memory")
def test_holes_of_the_heap_go_back_to_the_system():
    import ctypes
    from pathlib import Path

    libc = ctypes.CDLL(None)
    if not hasattr(libc, "malloc_trim"):
        pytest.skip("this C library has no malloc_trim")
    libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]

    def resident():
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    # blocks too small for pages of their own; every second one stays
    blocks = [libc.malloc(100_000) for _ in range(2000)]
    for block in blocks:
        ctypes.memset(block, 1, 100_000)
    for block in blocks[::2]:
        libc.free(block)
    before = resident()
    assert return_free_memory()
    returned = before - resident()
    for block in blocks[1::2]:
        libc.free(block)
    # 100 MB were free, all but the edges of each hole as whole pages
    assert returned > 80e6


def test_once_for_so_many_pictures(monkeypatch):
    calls = []
    monkeypatch.setattr(free_memory, "return_free_memory", lambda: calls.append(1))
    returner = MemoryReturner(every=8)
    for pictures in (3, 3, 3, 1, 20, 7, 1):
        returner.after(pictures)
        calls.append(0)
    # after 9, again after 21, again after 8
    assert calls == [0, 0, 1, 0, 0, 1, 0, 0, 1, 0]


def test_where_there_is_no_such_call_nothing_happens(monkeypatch):
    monkeypatch.setattr(free_memory, "_malloc_trim", lambda: None)
    assert return_free_memory() is False
