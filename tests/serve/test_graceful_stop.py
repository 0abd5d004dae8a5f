"""`dld serve` as a program: it stops when it is told to, loses nothing that was sent before, and ends with 0."""

import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def start_program(tiny_weights):
    """Start `dld serve` with the tiny student; returns the process and what it printed until it was ready."""
    pytest.importorskip("fastapi_offline", reason='the server needs more packages: pip install "dld[serve]"')
    processes = []

    def start(*arguments):
        command = [sys.executable, "-m", "dld.cli.main", "serve", "--weights", tiny_weights["student"], "--device", "cpu"]
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        environment = {**os.environ, "PYTHONPATH": path, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(
            [*command, *arguments], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        processes.append(process)
        return process, process.stdout.readline()

    yield start
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_is_in_flight_is_answered(start_program, make_client, spotter, pictures, wait, number):
    process, line = start_program("--port", "0", "--batch-size", "64", "--batch-wait", "3000")
    client = make_client(re.search(r"http://127\.0\.0\.1:\d+", line)[0])
    with ThreadPoolExecutor(len(pictures)) as pool:
        jobs = [pool.submit(client.read, picture) for picture in pictures]
        wait(lambda: client.metric("dld_queue_length") == len(pictures))
        process.send_signal(number)
        answers = [job.result() for job in jobs]
    for answer, picture in zip(answers, pictures, strict=True):
        assert answer.status == 200
        assert [word["text"] for word in answer.json["words"]] == [word.text for word in spotter(picture).words]
    with pytest.raises(urllib.error.URLError):
        client.send("/health")
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert errors.endswith("stopped\n") and "Traceback" not in errors
    assert errors.count("POST /read 200 pictures=1 ") == len(pictures)


def test_a_port_that_is_taken(start_program):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        process, line = start_program("--port", str(other.getsockname()[1]))
        errors = process.communicate(timeout=60)[1]
    assert process.returncode == 2 and not line
    assert errors.startswith("error: port ") and "is taken by another program" in errors and errors.count("\n") == 1
