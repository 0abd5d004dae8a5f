import multiprocessing
import pickle
import subprocess
import sys
import threading

import pytest
import torch

from dld.data.samples import sample_files
from dld.utils.threads import FEW_WORDS, ThreadsOfProcess, few_words_on_one_thread, in_calling_thread, map_side_by_side

CPU = torch.device("cpu")


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_few_words_take_one_thread_and_the_others_come_back(two_threads):
    with few_words_on_one_thread(FEW_WORDS, CPU):
        assert torch.get_num_threads() == 1
        with few_words_on_one_thread(1, CPU):
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2


def test_many_words_and_other_devices_take_all(two_threads):
    for words, device in ((FEW_WORDS + 1, CPU), (1, torch.device("cuda"))):
        with few_words_on_one_thread(words, device):
            assert torch.get_num_threads() == 2


def test_an_error_gives_the_threads_back(two_threads):
    with pytest.raises(KeyError), few_words_on_one_thread(1, CPU):
        raise KeyError
    assert torch.get_num_threads() == 2


def test_readers_in_several_threads_leave_the_number_as_it_was(two_threads):
    def read():
        for _ in range(200):
            with few_words_on_one_thread(1, CPU):
                torch.zeros(4).sum()

    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    assert torch.get_num_threads() == 2


def test_two_items_run_at_once_each_on_one_thread_in_order(two_threads):
    both = threading.Barrier(2, timeout=20)
    seen = []

    def call(item):
        if item < 2:
            both.wait()  # passes only if somebody else is here at the same time
        seen.append((threading.get_ident(), torch.get_num_threads()))
        return 10 * item

    assert map_side_by_side(call, range(7), 2) == [0, 10, 20, 30, 40, 50, 60]
    assert len({thread for thread, _ in seen}) == 2 and {threads for _, threads in seen} == {1}
    assert torch.get_num_threads() == 2
    later = []
    thread = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert later == [2]


def test_items_are_taken_when_there_is_time_for_them(two_threads):
    taken, done = [], []

    def items():
        for i in range(9):
            assert len(taken) - len(done) < 2
            taken.append(i)
            yield i

    map_side_by_side(done.append, items(), 2)
    assert sorted(done) == taken == list(range(9))


@pytest.mark.parametrize("threads", [1, 2])
def test_an_error_in_any_thread_ends_the_work(two_threads, threads):
    def call(item):
        if item == 3:
            raise KeyError("three")
        return item

    with pytest.raises(KeyError, match="three"):
        map_side_by_side(call, range(100), threads)
    assert torch.get_num_threads() == 2
    assert map_side_by_side(abs, [-1, -2], threads) == [1, 2]
    assert map_side_by_side(abs, [], threads) == []


def test_who_watches_keeps_the_work_in_its_thread(two_threads):
    with in_calling_thread():
        threads = map_side_by_side(lambda _: (threading.get_ident(), torch.get_num_threads()), range(4), 2)
    assert set(threads) == {(threading.get_ident(), 2)}


def test_many_callers_share_the_threads(two_threads):
    found = {}

    def caller(n):
        found[n] = [sum(map_side_by_side(lambda i: i * n, range(20), 2)) for _ in range(30)]

    callers = [threading.Thread(target=caller, args=(n,)) for n in range(5)]
    for thread in callers:
        thread.start()
    for thread in callers:
        thread.join(60)
    assert found == {n: [190 * n] * 30 for n in range(5)}


FORKING = """
import multiprocessing, sys
import numpy as np
import torch
from dld import TextSpotter

torch.set_num_threads(2)
spotter = TextSpotter.from_pretrained("teacher_tiny", device="cpu", opts=["INPUT.MIN_SIZE_TEST", 320])
read = lambda: [(word.text, word.polygon.tolist()) for word in spotter(sys.argv[1]).words]
before = read()  # which starts the threads
context = multiprocessing.get_context("fork")
results = context.Queue()
child = context.Process(target=lambda: results.put(read()))
child.start()
after = results.get(timeout=240)
assert [text for text, _ in after] == [text for text, _ in before] and len(before) == 2
# one thread adds in another order than two
assert all(np.allclose(one, other, atol=1e-2) for (_, one), (_, other) in zip(after, before))
assert torch.get_num_threads() == 2
"""


def test_a_process_forked_from_a_warm_spotter_reads_the_same_and_does_not_wait_for_ever():
    picture = next(path for path in sample_files() if path.stem == "slow_down")
    done = subprocess.run([sys.executable, "-c", FORKING, picture], capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("threads do not live on in a forked process") == 1


def threads_in(process: ThreadsOfProcess, results) -> None:
    torch.set_num_threads(2)
    process.use_one_after_fork()
    results.put(torch.get_num_threads())


@pytest.mark.parametrize(("method", "threads"), [("fork", 1), ("spawn", 2)])
def test_only_a_forked_process_is_left_with_one_thread(two_threads, method, threads):
    process = ThreadsOfProcess()
    process.use_one_after_fork()
    assert torch.get_num_threads() == 2
    pickle.loads(pickle.dumps(process)).use_one_after_fork()
    assert torch.get_num_threads() == 2
    context = multiprocessing.get_context(method)
    results = context.Queue()
    child = context.Process(target=threads_in, args=(process, results))
    child.start()
    assert results.get(timeout=240) == threads
    child.join()
