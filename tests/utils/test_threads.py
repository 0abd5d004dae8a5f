import threading

import pytest
import torch

from dld.utils.threads import FEW_WORDS, few_words_on_one_thread

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
