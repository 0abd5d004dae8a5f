import os
import subprocess
import sys

import pytest

from dld.utils.primitive_cache import CAPACITY, KEYS


@pytest.mark.parametrize(
    ("given", "wanted"),
    [({}, str(CAPACITY)), ({KEYS[0]: "77"}, "77"), ({KEYS[1]: "77"}, "None")],
)
def test_the_environment_goes_first(given, wanted):
    environment = {key: value for key, value in os.environ.items() if key not in KEYS} | given
    code = f"import sys, os, dld; print(os.environ.get({KEYS[0]!r}), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [wanted, "False"]


def test_pictures_of_many_sizes_are_not_compiled_again():
    """oneDNN reports what it compiles and what it finds (`cache_miss`, `cache_hit`)."""
    code = (
        "import dld, sys, torch\n"
        "layer = torch.nn.Conv2d(3, 8, 3)\n"
        "with torch.inference_mode():\n"
        "    for _ in range(2):\n"
        "        for k in range(int(sys.argv[1])):\n"
        "            layer(torch.zeros(1, 3, 8, 8 + k))\n"
    )
    environment = {key: value for key, value in os.environ.items() if key not in KEYS} | {"ONEDNN_VERBOSE": "profile_create"}
    command = [sys.executable, "-c", code]
    done = subprocess.run([*command, "1200"], env=environment, capture_output=True, text=True, check=True, timeout=120)
    if "cache_hit" not in done.stdout:
        pytest.skip("this torch does not compile convolutions with oneDNN, or does not say so")
    assert done.stdout.count("cache_hit") >= 1200
    few = subprocess.run(
        [*command, "150"], env=environment | {KEYS[0]: "100"}, capture_output=True, text=True, check=True, timeout=120
    )
    assert few.stdout.count("cache_hit") < 150
