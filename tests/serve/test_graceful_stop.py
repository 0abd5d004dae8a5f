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

from dld.cli.main import main

ROOT = Path(__file__).resolve().parents[2]


TWICE = "import sys; from dld.cli.main import main; sys.exit(main(sys.argv[1:]) or main(sys.argv[1:]))"


@pytest.fixture
def serve_twice(tiny_weights):
    """Start a program that serves the tiny student, and once more when it was stopped."""
    pytest.importorskip("fastapi_offline", reason='the server needs more packages: pip install "dld[serve]"')
    processes = []

    def start(*arguments):
        command = [sys.executable, "-c", TWICE, "serve", "--weights", tiny_weights["student"], "--device", "cpu"]
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        environment = {**os.environ, "PYTHONPATH": path, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(
            [*command, *arguments], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate()


def test_what_is_in_flight_is_answered(serve_twice, make_client, spotter, pictures, wait):
    process = serve_twice("--port", "0", "--batch-size", "64", "--batch-wait", "3000")
    expected = [[word.text for word in spotter(picture).words] for picture in pictures]
    for number in (signal.SIGTERM, signal.SIGINT):
        client = make_client(re.search(r"http://127\.0\.0\.1:\d+", process.stdout.readline())[0])
        with ThreadPoolExecutor(len(pictures)) as pool:
            jobs = [pool.submit(client.read, picture) for picture in pictures]
            wait(lambda client=client: client.metric("dld_queue_length") == len(pictures))
            process.send_signal(number)
            answers = [job.result() for job in jobs]
        assert [answer.status for answer in answers] == [200] * len(pictures)
        assert [[word["text"] for word in answer.json["words"]] for answer in answers] == expected
        lines = []
        while not lines or lines[-1] != "stopped\n":
            lines.append(process.stderr.readline())
            assert lines[-1], f"it ended without a word, after: {lines}"
        with pytest.raises(urllib.error.URLError):
            client.send("/health")
        assert "Traceback" not in "".join(lines)
        assert sum(line.count("POST /read 200 pictures=1 ") for line in lines) == len(pictures)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0 and not errors, errors


def test_a_port_that_is_taken(tiny_weights, capsys):
    pytest.importorskip("fastapi_offline", reason='the server needs more packages: pip install "dld[serve]"')
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        assert main(["serve", "--weights", tiny_weights["student"], "--port", str(other.getsockname()[1])]) == 2
    output, errors = capsys.readouterr()
    assert not output and errors.startswith("error: port ") and "is taken by another program" in errors
    assert errors.count("\n") == 1
