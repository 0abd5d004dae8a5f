"""Two processes are one with twice the batch; see process_equality.py for what is run."""

import subprocess
import time

import pytest
import torch
from process_equality import (
    FROZEN,
    IN_DOUBLE,
    STEPS,
    SYNCHRONISED,
    TOLERANCE,
    TOLERANCE_DOUBLE,
    compare_evaluation,
    compare_rounding,
    compare_training,
    death_commands,
    finish,
    largest_deviation,
    losses,
    seconds_until_the_others_end,
    two_nodes,
    wait_for_training,
    with_processes,
)
from tiny_run import train_command

from dld.engine.process_average import averaged_over_processes, process_weights
from dld.engine.trainer import SpotterTrainer
from dld.modeling.meta_arch.step_losses import StepLosses
from dld.modeling.sampling import random_numbers_of


def test_weighted_means_of_the_processes_are_the_mean_of_all():
    # 3 words with loss 1 here, 1 word with loss 5 there: the mean over words is 2, over processes it would be 3
    here, there = torch.tensor([3.0, 6.0, -1.0]), torch.tensor([1.0, 0.0, -1.0])
    total = here + there
    mine, theirs = process_weights(here, total, 2), process_weights(there, total, 2)
    assert mine.tolist() == [1.5, 2.0, 1.0] and theirs.tolist() == [0.5, 0.0, 1.0]
    assert (mine[0] * 1 + theirs[0] * 5) / 2 == 2


def test_no_words_anywhere_leave_no_loss():
    assert process_weights(torch.tensor([0.0]), torch.tensor([0.0]), 2).tolist() == [0.0]


def test_one_process_changes_nothing():
    losses = StepLosses({"loss_rec": torch.tensor(2.0)}, {"loss_rec": "step"}, {"word": 3, "step": 9})
    assert averaged_over_processes(losses) is losses


def test_counts_of_a_batch(tiny_cfg, small_set, storage):
    tiny_cfg.DATASETS.TRAIN = (small_set,)
    model = SpotterTrainer.build_model(tiny_cfg).train()
    data = next(iter(SpotterTrainer.build_train_loader(tiny_cfg)))
    losses = model(data)
    counts = losses.counts
    texts = [ids for x in data for ids in x["instances"].gt_text[x["instances"].gt_readable]]
    assert counts["word"] == len(texts) == 4
    # each word's characters and its end
    assert counts["step"] == sum(int((ids != model.charset.pad).sum()) for ids in texts) > 4
    assert counts["proposal"] == 2 * 16 and 0 < counts["foreground"] <= 2 * 4
    assert losses.units["loss_mask"] == "foreground" and "loss_rpn_cls" not in losses.units


def test_an_unknown_unit_is_named():
    with pytest.raises(ValueError, match="not over character"):
        StepLosses({}, {"loss_rec": "character"})


def test_an_image_draws_its_own_numbers_and_takes_none_from_others():
    torch.manual_seed(0)
    expected = torch.rand(2)
    torch.manual_seed(0)
    first = torch.rand(1)
    with random_numbers_of(7, torch.device("cpu")):
        mine = torch.randperm(100)
    assert torch.equal(torch.cat([first, torch.rand(1)]), expected)
    torch.manual_seed(99)
    with random_numbers_of(7, torch.device("cpu")):
        assert torch.equal(torch.randperm(100), mine)
    with random_numbers_of(8, torch.device("cpu")):
        assert not torch.equal(torch.randperm(100), mine)


def test_samples_of_an_image_do_not_depend_on_its_place_in_the_batch(tiny_cfg, small_set, storage):
    tiny_cfg.DATASETS.TRAIN = (small_set,)
    tiny_cfg.MODEL.RPN.BATCH_SIZE_PER_IMAGE = 8
    model = SpotterTrainer.build_model(tiny_cfg).train()
    data = next(iter(SpotterTrainer.build_train_loader(tiny_cfg)))
    drawn = []
    label = model.proposal_generator.label_and_sample_anchors
    model.proposal_generator.label_and_sample_anchors = lambda *args: drawn.append(label(*args)) or drawn[-1]
    for seed, batch in ((0, data), (1, data[::-1])):
        torch.manual_seed(seed)
        model(batch)
    (forwards, _), (backwards, _) = drawn
    assert all(torch.equal(a, b) for a, b in zip(forwards, backwards[::-1], strict=True))
    assert not torch.equal(forwards[0], forwards[1])


@pytest.mark.slow
def test_two_processes_reach_the_losses_of_one(tmp_path):
    finish(train_command(tmp_path / "one", *STEPS, *FROZEN))
    finish(with_processes(train_command(tmp_path / "two", *STEPS, *FROZEN), 2))
    one = losses(tmp_path / "one")
    assert {"loss_rec", "loss_ctc", "loss_cls", "loss_box_reg", "loss_mask", "loss_rpn_cls", "total_loss"} <= one.keys()
    assert all(len(values) == 5 for values in one.values())
    assert largest_deviation(one, losses(tmp_path / "two")) < TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("selector", ["WordLossSelector", "BackboneSelector", "none"])
def test_two_processes_distil_as_one_does(tmp_path, selector):
    """Scales, anchors and proposals are drawn by the image, and every loss counts by what it is a mean over."""
    finish(train_command(tmp_path / "teacher", "SOLVER.MAX_ITER", 1))
    options = [*STEPS, "MODEL.DISTILLATION.TEACHER_WEIGHTS", tmp_path / "teacher" / "model_final.pth"]
    options += ["MODEL.SELECTOR.ENABLED", False] if selector == "none" else ["MODEL.SELECTOR.NAME", selector]
    finish(train_command(tmp_path / "one", *options, config="dld_tiny"))
    finish(with_processes(train_command(tmp_path / "two", *options, config="dld_tiny"), 2))
    one = losses(tmp_path / "one")
    assert {"loss_rec", "loss_mask", "loss_rpn_cls", "loss_kd_sequence", "loss_kd_roi", "total_loss"} <= one.keys()
    assert ("loss_selector" in one) == (selector != "none")
    assert largest_deviation(one, losses(tmp_path / "two")) < TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("norm", [FROZEN, SYNCHRONISED], ids=["frozen", "synchronised"])
def test_without_rounding_two_processes_torchrun_and_two_nodes_are_one(tmp_path, norm):
    deviations = compare_training(tmp_path, norm)
    assert set(deviations) == {"two", "torchrun", "two nodes"} and max(deviations.values()) < TOLERANCE_DOUBLE, deviations


@pytest.mark.slow
def test_in_float32_synchronised_norm_agrees_until_rounding_has_grown(tmp_path):
    deviations = compare_rounding(tmp_path, SYNCHRONISED)
    assert set(deviations) == {"two", "itself"} and max(first for first, _ in deviations.values()) < TOLERANCE, deviations


@pytest.mark.slow
def test_without_rounding_a_weight_that_is_wrong_shows(tmp_path):
    """The comparison sees what it is for: at a hundredth more of one loss's weight the deviation is far above the limit."""
    one, other = (train_command(tmp_path / n, *STEPS, *FROZEN, script=IN_DOUBLE) for n in ("one", "other"))
    finish(one)
    finish([*other, "MODEL.RECOGNITION.CTC_WEIGHT", "0.505"])
    assert largest_deviation(losses(tmp_path / "one"), losses(tmp_path / "other")) > 1e3 * TOLERANCE_DOUBLE


def test_deviations_count_the_steps_asked_for():
    one, other = {"loss_a": [1.0, 2.0, 4.0]}, {"loss_a": [1.0, 2.0, 3.0]}
    assert largest_deviation(one, other, 2) == 0 and largest_deviation(one, other) == 0.25
    assert largest_deviation(one, {"loss_b": [1.0]}) == float("inf")


@pytest.mark.slow
def test_an_evaluation_does_not_depend_on_the_number_of_processes(tmp_path):
    assert compare_evaluation(tmp_path) == {2: True, 3: True}


@pytest.mark.slow
def test_more_processes_than_images(tmp_path):
    assert compare_evaluation(tmp_path, images=2) == {2: True, 3: True}


@pytest.mark.slow
@pytest.mark.parametrize("how", ["--num-gpus 2", "torchrun"])
def test_one_process_dying_ends_the_other_with_the_cause(tmp_path, how):
    taken, code, output = seconds_until_the_others_end(death_commands(tmp_path)[how], tmp_path)
    assert taken < 60 and code != 0
    assert "SIGKILL" in output or "exitcode  : -9" in output, output[-2000:]


@pytest.mark.slow
def test_a_node_that_dies_ends_the_other(tmp_path):
    nodes = two_nodes(tmp_path / "output", "SOLVER.MAX_ITER", 100_000, "SOLVER.CHECKPOINT_PERIOD", 100_000)
    log = tmp_path / "node0.log"
    # the second process logs to a file of its own only
    wait_for_training(nodes[0], log)
    for child in process_tree(nodes[1].pid):
        subprocess.run(["kill", "-9", str(child)])
    started = time.monotonic()
    assert nodes[0].wait(120) != 0 and time.monotonic() - started < 60
    nodes[1].wait(60)
    # gloo's words for it
    assert "Connection closed by peer" in log.read_text() or "Connection reset" in log.read_text()


def process_tree(root: int) -> list[int]:
    """A process and all below it."""
    found = subprocess.run(["ps", "--ppid", str(root), "-o", "pid="], capture_output=True, text=True).stdout.split()
    return [root, *(p for child in found for p in process_tree(int(child)))]
