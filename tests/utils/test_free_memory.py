import mmap
import os
import subprocess
import sys

import pytest

from dld.utils import free_memory
from dld.utils.free_memory import MemoryReturner, keep_free_memory, resident_memory, return_free_memory


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's malloc_trim is what returns memory")
def test_holes_of_the_heap_go_back_to_the_system():
    import ctypes

    libc = ctypes.CDLL(None)
    if not hasattr(libc, "malloc_trim"):
        pytest.skip("this C library has no malloc_trim")
    libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]

    # blocks too small for pages of their own; every second one stays
    blocks = [libc.malloc(100_000) for _ in range(2000)]
    for block in blocks:
        ctypes.memset(block, 1, 100_000)
    for block in blocks[::2]:
        libc.free(block)
    before = resident_memory()
    assert return_free_memory()
    returned = before - resident_memory()
    for block in blocks[1::2]:
        libc.free(block)
    # 100 MB were free, all but the edges of each hole as whole pages
    assert returned > 80e6


def test_only_when_the_process_has_grown(monkeypatch):
    resident, after, calls = [100], 90, []

    def give_back():
        calls.append(resident[0])
        resident[0] = after
        return True

    monkeypatch.setattr(free_memory, "resident_memory", lambda: resident[0])
    monkeypatch.setattr(free_memory, "return_free_memory", give_back)
    returner = MemoryReturner(share=0.5, most=1000)
    for resident[0] in (100, 120, 135, 136, 120, 140):
        returner.look()
    # the first look finds out what is needed: 90, and by half more than that is left alone
    assert calls == [100, 136, 140]
    returner = MemoryReturner(share=0.5, most=20)
    for resident[0] in (100, 110, 111):
        returner.look()
    assert calls[3:] == [100, 111]


def test_what_needs_more_is_not_asked_again_and_again(monkeypatch):
    calls = []
    monkeypatch.setattr(free_memory, "resident_memory", lambda: 500)
    monkeypatch.setattr(free_memory, "return_free_memory", lambda: calls.append(1) or True)
    returner = MemoryReturner()
    for _ in range(5):
        returner.look()
    assert calls == [1]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc")
def test_resident_memory_sees_what_is_touched():
    before = resident_memory()
    # pages of its own: a block of the heap may lie where freed memory was kept
    with mmap.mmap(-1, 64 << 20) as block:
        for page in range(0, len(block), mmap.PAGESIZE):
            block[page] = 1
        assert 60 << 20 < resident_memory() - before < 100 << 20


def test_where_there_is_no_such_call_nothing_happens(monkeypatch):
    monkeypatch.setattr(free_memory, "_glibc", lambda name: None)
    assert return_free_memory() is False and keep_free_memory() is False
    returner = MemoryReturner()
    returner.look()
    returner.look()


FAULTS = """
import ctypes, resource
from dld.utils.free_memory import keep_free_memory
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        blocks = [libc.malloc(20_000_000) for _ in range(3)]
        for block in blocks:
            ctypes.memset(block, 1, 20_000_000)
        for block in blocks:
            libc.free(block)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults()
print(faults(), keep_free_memory(), faults() and faults())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's mallopt is what keeps memory")
@pytest.mark.parametrize(
    "told", [{}, {"MALLOC_TRIM_THRESHOLD_": "100000"}, {"GLIBC_TUNABLES": "glibc.malloc.trim_threshold=100000"}]
)
def test_freed_blocks_are_used_again_unless_the_environment_decides(told):
    kept = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_") and k != "GLIBC_TUNABLES"}
    run = subprocess.run([sys.executable, "-c", FAULTS], env={**kept, **told}, capture_output=True, text=True, check=True)
    before, was_set, after = run.stdout.split()
    assert was_set == str(not told)
    # 60 MB are some 14,600 pages
    assert int(before) > 50_000 and (int(after) > 50_000 if told else int(after) < 1_000)
