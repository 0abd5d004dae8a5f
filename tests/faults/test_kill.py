"""The short form of kill_campaign.py: killed while training and while writing, a run ends as the unbroken one, bit for bit."""

import pytest
from kill_campaign import campaign


@pytest.mark.slow
@pytest.mark.parametrize(("distill", "kills"), [(False, 3), (True, 2)], ids=["teacher", "distiller"])
def test_a_killed_run_ends_as_the_unbroken_one(tmp_path, distill, kills):
    found, counts = campaign(tmp_path, kills, seed=1, distill=distill)
    assert found == [] and counts["kills"] == kills and counts["writing"] >= 1
