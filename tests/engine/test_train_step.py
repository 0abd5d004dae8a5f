import json

import pytest
import torch
from detectron2.utils.events import EventStorage
from torch import nn

from dld.engine import train_step
from dld.engine.train_step import NonFiniteLossError, StepTrainer, amp_dtype
from dld.utils.number_format import bfloat16_instructions

CPU = torch.device("cpu")


class Line(nn.Module):
    """loss = (w . x)^2 for each sample's x; remembers the number format it ran in."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(2, 1, bias=False)
        nn.init.ones_(self.linear.weight)

    def forward(self, data):
        y = self.linear(torch.stack([d["x"] for d in data]))
        self.seen = (y.dtype, torch.rand(1).item())
        return {"loss_a": y.float().square().mean(), "loss_b": y.float().sum() * 0}


def batches(*values):
    return [[{"x": torch.tensor([v, 0.0]), "file_name": f"{v}.jpg"}] for v in values]


def trainer(data, rate=0.1, **options):
    model = Line()
    options.setdefault("clip_groups", [list(model.parameters())])
    return StepTrainer(model, data, torch.optim.SGD(model.parameters(), rate), **options)


def step(trainer, iteration=0):
    trainer.iter = iteration
    with EventStorage(iteration) as storage:
        trainer.run_step()
        return storage.latest()


@pytest.mark.parametrize(
    ("enabled", "name", "device", "instructions", "expected"),
    [
        (False, "float16", "cuda", False, None),
        (True, "float16", "cuda", False, torch.float16),
        (True, "bfloat16", "cuda", False, torch.bfloat16),
        (True, "float16", "cpu", True, torch.bfloat16),
        (True, "bfloat16", "cpu", False, None),
    ],
)
def test_number_format(monkeypatch, caplog, enabled, name, device, instructions, expected):
    monkeypatch.setattr(train_step, "bfloat16_instructions", lambda: instructions)
    assert amp_dtype(enabled, name, torch.device(device)) == expected
    assert ("no bfloat16 instructions" in caplog.text) == (enabled and device == "cpu" and not instructions)


def test_an_unknown_number_format_is_named():
    with pytest.raises(ValueError, match="SOLVER.AMP.DTYPE .* 'float8'"):
        amp_dtype(True, "float8", CPU)


def test_a_step_is_plain_gradient_descent():
    t = trainer(batches(3.0))
    scalars = step(t)
    # w = 1, x = 3: the gradient of (3 w)^2 is 18
    torch.testing.assert_close(t.model.linear.weight.detach(), torch.tensor([[1 - 0.1 * 18, 1.0]]))
    assert scalars["grad_norm"][0] == pytest.approx(18) and scalars["total_loss"][0] == pytest.approx(9)
    assert scalars["loss_a"][0] == pytest.approx(9)


def test_a_group_is_clipped_to_its_norm():
    t = trainer(batches(3.0), clip_norm=2.0)
    scalars = step(t)
    torch.testing.assert_close(t.model.linear.weight.detach(), torch.tensor([[1 - 0.1 * 2, 1.0]]))
    assert scalars["grad_norm"][0] == pytest.approx(18), "the norm before clipping is logged"


def test_the_cpu_computes_in_bfloat16_when_asked_and_keeps_float32_weights():
    t = trainer(batches(3.0), dtype=torch.bfloat16)
    step(t)
    assert t.model.seen[0] == torch.bfloat16 and t.model.linear.weight.dtype == torch.float32


def test_random_numbers_follow_from_seed_and_iteration():
    def drawn(seed, iteration):
        t = trainer(batches(3.0), seed=seed)
        step(t, iteration)
        return t.model.seen[1]

    torch.manual_seed(123)
    first = drawn(0, 5)
    torch.rand(10)
    assert drawn(0, 5) == first
    assert len({first, drawn(0, 6), drawn(1, 5), drawn(1, 6)}) == 4


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_before_the_update_and_names_the_images(tmp_path, bad):
    t = trainer(batches(bad), dump_dir=str(tmp_path))
    with pytest.raises(NonFiniteLossError, match=f"{bad}.jpg"):
        step(t, 41)
    assert (t.model.linear.weight == 1).all()
    (report,) = tmp_path.iterdir()
    content = json.loads(report.read_text())
    assert content["iteration"] == 41 and content["images"] == [f"{bad}.jpg"] and content["what"] == "loss"
    assert set(content["losses"]) == {"loss_a", "loss_b"}


def test_a_gradient_that_is_not_finite_stops_too():
    t = trainer(batches(3.0))
    t.model.linear.weight.register_hook(lambda g: g * float("inf"))
    with pytest.raises(NonFiniteLossError, match="gradient is not finite"):
        step(t)
    assert (t.model.linear.weight == 1).all()


@pytest.mark.parametrize("has", [(True, False), (False, True), (False, False)])
def test_either_extension_makes_bfloat16_fast(monkeypatch, has):
    for name, value in zip(("_is_avx512_bf16_supported", "_is_amx_tile_supported"), has, strict=True):
        monkeypatch.setattr(torch.cpu, name, lambda value=value: value, raising=False)
    assert bfloat16_instructions() == any(has)


def test_the_factor_of_the_amp_scaler_is_saved():
    t, again = (trainer(batches(3.0), dtype=torch.float16) for _ in range(2))
    t.grad_scaler.scale(torch.ones(1))  # makes the factor
    t.grad_scaler.update(new_scale=1024.0)
    again.grad_scaler.scale(torch.ones(1))
    again.load_state_dict(t.state_dict())
    assert again.grad_scaler.get_scale() == t.grad_scaler.get_scale() == 1024.0 != 65536.0


def test_a_forward_pass_that_diverges_leaves_the_report_too(tmp_path):
    t = trainer(batches(3.0), dump_dir=str(tmp_path))

    def diverge(data):
        raise FloatingPointError("Predicted boxes or scores contain Inf/NaN")

    t.losses = diverge
    with pytest.raises(NonFiniteLossError, match=r"(?s)Inf/NaN.*3.0.jpg"):
        step(t, 7)
    (report,) = tmp_path.iterdir()
    assert json.loads(report.read_text())["iteration"] == 7
