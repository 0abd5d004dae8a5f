"""Every hostile file ends in a clear error or a counted skip, within its bounds of time and memory."""

import re
import resource
import signal
import threading
import time
import warnings

import hostile_annotations  # noqa: F401  only registration, as all of these
import hostile_ground_truth  # noqa: F401
import hostile_images  # noqa: F401
import hostile_submissions  # noqa: F401
import pytest
from hostile_corpus import CORPUS


class Peak:
    """Largest resident memory of this process while it is open, in megabytes above the start."""

    def __enter__(self):
        self.start = self.most = resident_megabytes()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def _watch(self):
        while not self._over.wait(0.005):
            self.most = max(self.most, resident_megabytes())

    def __exit__(self, *_):
        self._over.set()
        self._thread.join()
        self.most = max(self.most, resident_megabytes())

    @property
    def megabytes(self):
        return self.most - self.start


def resident_megabytes():
    with open("/proc/self/statm") as f:
        return int(f.read().split()[1]) * resource.getpagesize() / 1e6


def give_up(*_):
    raise TimeoutError("no answer")


def test_the_corpus_is_whole():
    assert len(CORPUS) == 132, "a file of the corpus was lost, or one is new: count again"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CORPUS)
def test_hostile(name, tmp_path):
    hostile = CORPUS[name]
    folder = tmp_path / "corpus"
    folder.mkdir()
    feed = hostile.make(folder)
    error, counted = None, None
    # what the bound is about is work done, not how busy the machine is; the alarm is for what would wait for ever
    signal.signal(signal.SIGALRM, give_up)
    signal.alarm(int(10 * hostile.seconds))
    started = time.process_time()
    with Peak() as peak, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            counted = feed()
        except (ValueError, FileNotFoundError) as caught:
            error = caught
    signal.alarm(0)
    assert time.process_time() - started < hostile.seconds
    assert peak.megabytes < hostile.megabytes
    if hostile.outcome == "counted":
        assert error is None and counted > 0
    else:
        assert error is not None, "it was taken without a word"
        assert re.search(re.escape(hostile.names), str(error)), str(error)
        assert len(str(error)) < 2000, "an error is to be read"
