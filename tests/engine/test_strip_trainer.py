"""The reader of strips is trained by itself: it comes closer to its teacher, resumes as it was, and ends as a file to use."""

import json
import os

import cv2
import pytest
import torch
from distilling import same

from dld.config import get_dld_cfg
from dld.data.strip_words import StripMapper
from dld.engine.setup import register_datasets
from dld.engine.strip_trainer import READER_FILE, StripTrainer, holds_reader, read_set
from dld.evaluation.strip_accuracy import strip_accuracy
from dld.modeling.meta_arch.kept_columns import KeptColumns
from dld.modeling.meta_arch.strip_distiller import StripDistiller, column_distillation_losses
from dld.modeling.recognition.strip_recognizer import StripRecognizer, load_strip_recognizer
from dld.text.charset import Charset


@pytest.fixture
def cfg(tmp_path, small_set):
    cfg = get_dld_cfg()
    cfg.merge_from_file("configs/reader_ppocr.yaml")
    cfg.merge_from_list([
        "MODEL.DEVICE", "cpu", "DATASETS.TRAIN", (small_set,), "DATASETS.TEST", (small_set,), "SOLVER.IMS_PER_BATCH", 2,
        "SOLVER.MAX_ITER", 4, "SOLVER.WARMUP_ITERS", 0, "SOLVER.CHECKPOINT_PERIOD", 2, "SOLVER.AMP.ENABLED", False,
        "DATALOADER.NUM_WORKERS", 0, "TEST.EVAL_PERIOD", 0, "OUTPUT_DIR", str(tmp_path / "out"), "SEED", 3,
        "MODEL.INFERENCE_DTYPE", "float32", "MODEL.STRIPS.CHARSET", "ascii",
    ])  # fmt: skip
    os.makedirs(cfg.OUTPUT_DIR)
    return cfg


def train(cfg, resume=False):
    trainer = StripTrainer(cfg)
    trainer.resume_or_load(resume)
    trainer.train()
    return trainer


def blurred(reader: StripRecognizer) -> StripRecognizer:
    """As if it had forgotten something: it reads less than its teacher, and can learn it again."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in reader.parameters():
            if parameter.dim() > 1:
                parameter += 0.3 * parameter.std() * torch.randn_like(parameter)
    return reader


def test_training_brings_the_student_to_its_teacher_and_ends_as_a_reader(cfg, tmp_path):
    from dld.weights import save_safetensors

    start = tmp_path / "start.safetensors"
    save_safetensors(str(start), blurred(load_strip_recognizer("strip_reader")).state_dict(), {})
    cfg.MODEL.WEIGHTS, cfg.SOLVER.MAX_ITER, cfg.SOLVER.IMS_PER_BATCH = str(start), 24, 4
    cfg.SOLVER.BASE_LR = 0.001
    trainer = StripTrainer(cfg)
    trainer.resume_or_load(False)
    first = trainer.unwrapped_model.losses(words_of(cfg), 24)
    trainer.train()
    last = trainer.unwrapped_model.losses(words_of(cfg), 24)
    assert sum(v.item() for v in last.values()) < 0.8 * sum(v.item() for v in first.values())
    path = os.path.join(cfg.OUTPUT_DIR, READER_FILE)
    assert holds_reader(path) and not holds_reader(os.path.join(cfg.OUTPUT_DIR, "model_final.pth"))
    written = load_strip_recognizer(path)
    assert written.charset == Charset.default()
    for name, value in trainer.unwrapped_model.student.state_dict().items():
        torch.testing.assert_close(written.state_dict()[name].float(), value.float(), atol=2e-3, rtol=2e-3)


@pytest.mark.parametrize("encoder", ["pyramid", "stem"])
def test_a_reader_with_the_spotters_layers_is_trained_written_and_scored(cfg, encoder):
    node = cfg.MODEL.STRIPS
    node.ENCODER.NAME, node.TRAINING.ROWS, node.TRAINING.TEST_ROWS, cfg.SOLVER.BASE_LR = encoder, [48, 24], [24], 0.001
    cfg.SOLVER.MAX_ITER = 20
    words = words_of(cfg)
    first = StripDistiller(cfg).losses(words, 24)
    model = train(cfg).unwrapped_model
    student, last = model.student, model.losses(words, 24)
    assert sum(v.item() for v in last.values()) < 0.8 * sum(v.item() for v in first.values())
    path = os.path.join(cfg.OUTPUT_DIR, READER_FILE)
    written = load_strip_recognizer(path)
    assert written.encoder_name == encoder and type(written.body) is type(student.body)
    for name, value in student.state_dict().items():
        torch.testing.assert_close(written.state_dict()[name].float(), value.float(), atol=2e-3, rtol=2e-3)
    untouched = StripDistiller(cfg).student.body.trunk.state_dict()
    moved = [name for name, value in student.body.trunk.state_dict().items() if not torch.equal(value, untouched[name])]
    assert len(moved) == len(untouched), "the copy of the spotter's layers is trained, too"
    again = StripDistiller(cfg)
    again.start_from(written)
    assert torch.equal(again.student.body.head.out.weight, written.body.head.out.weight)
    node.ENCODER.NAME = "ppocr"
    with pytest.raises(ValueError, match=f"set MODEL.STRIPS.ENCODER.NAME {encoder}"):
        StripDistiller(cfg).start_from(written)


def words_of(cfg):
    mapper = StripMapper.from_config(cfg, Charset.default())
    import numpy as np
    from detectron2.data import DatasetCatalog

    return [w for r in DatasetCatalog.get(cfg.DATASETS.TRAIN[0]) for w in mapper(r, np.random.default_rng(0))["words"]]


def test_a_resumed_run_is_the_unbroken_one(cfg, tmp_path):
    whole = train(cfg).unwrapped_model.state_dict()
    again = cfg.clone()
    again.OUTPUT_DIR = str(tmp_path / "broken")
    os.makedirs(again.OUTPUT_DIR)
    broken = StripTrainer(again)
    # killed after two of four iterations: the schedule is that of four
    broken.max_iter = 2
    broken.resume_or_load(False)
    broken.train()
    resumed = StripTrainer(again)
    resumed.resume_or_load(True)
    assert resumed.start_iter == 2
    resumed.train()
    assert same(whole, resumed.unwrapped_model.state_dict())


def curve_of(cfg):
    with open(os.path.join(cfg.OUTPUT_DIR, "curve.json")) as f:
        return json.load(f)


def test_a_curve_has_a_row_whenever_so_many_words_were_read_and_goes_on(cfg, tmp_path):
    node = cfg.MODEL.STRIPS.TRAINING
    node.CURVE_WORDS, node.TEST_ROWS = 6, [24, 16]
    # two pictures of two words a step: 4, 8, 12, 16 words, and that is the end
    trainer = train(cfg)
    whole = curve_of(cfg)
    assert [(row["words"], row["iteration"]) for row in whole] == [(8, 2), (12, 3), (16, 4)]
    assert all(set(row) == {"words", "iteration", "drawn_words"} for row in whole)
    assert all(set(row["drawn_words"]) == {"24", "16"} and "all" in row["drawn_words"]["16"] for row in whole)
    assert trainer.state_dict()["hooks"]["LearningCurve"]["words"] == 16
    assert cv2.imread(os.path.join(cfg.OUTPUT_DIR, "curve.png")) is not None
    again = cfg.clone()
    again.OUTPUT_DIR = str(tmp_path / "broken")
    os.makedirs(again.OUTPUT_DIR)
    broken = StripTrainer(again)
    broken.max_iter = 2
    broken.resume_or_load(False)
    broken.train()
    assert curve_of(again) == whole[:1]
    with open(os.path.join(again.OUTPUT_DIR, "curve.json"), "w") as f:
        json.dump([*whole[:1], {"words": 99, "iteration": 3}], f)  # behind the last checkpoint
    assert train(again, resume=True).iter == 4
    assert curve_of(again) == whole


def test_no_curve_without_words_or_sets_and_none_of_less_than_a_word(cfg):
    node = cfg.MODEL.STRIPS.TRAINING
    node.CURVE_WORDS, cfg.SOLVER.MAX_ITER = 0, 1
    train(cfg)
    node.CURVE_WORDS, tests, cfg.DATASETS.TEST = 1, cfg.DATASETS.TEST, ()
    train(cfg)
    assert not os.path.exists(os.path.join(cfg.OUTPUT_DIR, "curve.json"))
    node.CURVE_WORDS, cfg.DATASETS.TEST = -5, tests
    with pytest.raises(ValueError, match=r"^MODEL\.STRIPS\.TRAINING\.CURVE_WORDS must be positive, or 0 for no curve, got -5$"):
        StripTrainer(cfg)


def test_generated_strips_train_and_score_a_reader(cfg, small_set):
    cfg.DATASETS.SYNTHSTRIPS.WORDS, cfg.DATASETS.SYNTHSTRIPS.VAL_LENGTH = 6, 2
    cfg.DATASETS.TRAIN, cfg.DATASETS.TRAIN_WEIGHTS = ("synthstrips_train", small_set), [1, 1]
    cfg.DATASETS.TEST, cfg.SOLVER.MAX_ITER = ("synthstrips_val",), 2
    register_datasets(cfg)
    try:
        trainer = train(cfg)
    finally:
        register_datasets(get_dld_cfg())
    scores = trainer._last_eval_results["synthstrips_val"]
    assert set(scores) == {"48", "32", "24", "16"} and scores["48"]["all"] >= 30, "as the teacher reads"


def test_scores_come_by_set_height_and_kind_and_are_written(cfg):
    trainer = train(cfg)
    scores = trainer._last_eval_results["drawn_words"]
    assert set(scores) == {"48", "32", "24", "16"} and all("all" in shares for shares in scores.values())
    with open(os.path.join(cfg.OUTPUT_DIR, "strip_accuracy.json")) as f:
        assert json.load(f)["drawn_words"] == scores
    with open(os.path.join(cfg.OUTPUT_DIR, "metrics.json")) as f:
        assert any("drawn_words/48/all" in line for line in f)


def test_the_shipped_reader_reads_large_drawn_words(cfg, register_records, make_record):
    name = register_records("large_words", [make_record(("stone", "river"), 200, 320, font=2.0)])
    scores = read_set(cfg, load_strip_recognizer("strip_reader"), name)
    assert scores["48"]["all"] == scores["32"]["all"] == 100.0


def test_a_set_without_words_is_named(cfg, register_records, make_record):
    name = register_records("empty_words", [make_record(("stone",), ignore=(0,))])
    with pytest.raises(ValueError, match="empty_words: no word to read in 1 images"):
        read_set(cfg, load_strip_recognizer("strip_reader"), name)


def test_kinds_of_words():
    words = [("Abc", "abc", 10, 1.0), ("12:30", "12.30", 90, 0.3), ("elephants", "elephants", 20, 0.4)]
    assert strip_accuracy(words) == {"all": 66.67, "small": 100.0, "large": 0.0, "turned": 50.0, "long": 100.0, "signs": 0.0}
    assert strip_accuracy([]) == {}


def test_losses_vanish_where_the_student_is_its_teacher_at_48_rows(cfg):
    cfg.MODEL.STRIPS.TRAINING.ROWS, cfg.MODEL.STRIPS.TRAINING.CTC_WEIGHT = [48], 0.0
    model = StripDistiller(cfg)
    losses = model.losses(words_of(cfg), 48)
    assert set(losses) == {"loss_kd_characters", "loss_kd_columns"} and max(v.item() for v in losses.values()) < 1e-6
    nothing = model.losses([], 48)
    assert sum(v.item() for v in nothing.values()) == 0 and sum(nothing.values()).requires_grad


def test_an_attention_decoder_is_taught_without_harm_to_the_columns(cfg):
    cfg.MODEL.STRIPS.TRAINING.DECODER_WIDTH = 16
    for name in ("CTC", "CHARACTERS", "COLUMNS"):
        cfg.MODEL.STRIPS.TRAINING[f"{name}_WEIGHT"] = 0.0
    model = StripDistiller(cfg)
    losses = model.losses(words_of(cfg), 24)
    assert set(losses) == {"loss_attention"} and losses["loss_attention"].item() > 0
    losses["loss_attention"].backward()
    assert all(p.grad is not None for p in model.student.decoder.parameters())
    rest = [p for name, p in model.student.named_parameters() if not name.startswith("decoder.")]
    assert not any(p.requires_grad for p in rest), "not even weight decay may change it"
    cfg.MODEL.STRIPS.TRAINING.ATTENTION_SHARE = 0.1
    assert all(p.requires_grad for p in StripDistiller(cfg).student.parameters())
    cfg.MODEL.STRIPS.TRAINING.ATTENTION_WEIGHT, cfg.MODEL.STRIPS.TRAINING.ATTENTION_SHARE = 0.0, 0.0
    with pytest.raises(ValueError, match=r"MODEL\.STRIPS\.TRAINING have weight 0"):
        StripDistiller(cfg)


def decoder_alone(cfg, reuse):
    node = cfg.MODEL.STRIPS.TRAINING
    node.DECODER_WIDTH, node.COLUMN_REUSE = 16, reuse
    node.CTC_WEIGHT = node.CHARACTERS_WEIGHT = node.COLUMNS_WEIGHT = 0.0


def test_words_that_are_read_once_train_the_decoder_several_times(cfg, monkeypatch):
    decoder_alone(cfg, 3)
    cfg.SOLVER.MAX_ITER, cfg.SOLVER.CHECKPOINT_PERIOD = 6, 6
    read, before = [], StripDistiller(cfg).student.state_dict()
    columns = StripRecognizer.columns
    monkeypatch.setattr(StripRecognizer, "columns", lambda self, x: read.append(len(x)) or columns(self, x))
    trainer = StripTrainer(cfg)
    trainer.resume_or_load(False)
    steps = []
    run = trainer._trainer.run_step
    kept = trainer.unwrapped_model.kept
    decoder = trainer.unwrapped_model.student.decoder
    trainer._trainer.run_step = lambda: run() or steps.append((len(kept), sum(read), decoder.output.weight.sum().item()))
    trainer.train()
    # of the first batch in three steps, of both in three more
    sizes = [size for size, *_ in steps]
    assert 0 < sizes[0] == sizes[2] < sizes[3] == sizes[5] and sizes == [count for _, count, _ in steps]
    assert len({weight for *_, weight in steps}) == 6, "every step changes the decoder"
    after = trainer.unwrapped_model.student.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items() if not name.startswith("decoder."))


def test_losses_of_kept_words_are_those_of_the_words(cfg):
    decoder_alone(cfg, 2)
    cfg.MODEL.STRIPS.TRAINING.ROWS = [48]
    model, batch = StripDistiller(cfg), next(iter(StripTrainer.build_train_loader(cfg)))
    wanted = model.losses([word for record in batch for word in record["words"]], 48)
    found = model(batch)
    assert found.keys() == wanted.keys() == {"loss_attention"}
    # half precision of the columns
    torch.testing.assert_close(found["loss_attention"], wanted["loss_attention"], rtol=1e-2, atol=1e-2)
    empty = StripDistiller(cfg)([])
    sum(empty.values()).backward()
    assert float(empty["loss_attention"].detach()) == 0


def test_a_full_store_of_columns_stays_full_and_gives_words_of_like_lengths():
    torch.manual_seed(0)
    kept = KeptColumns(most=600)
    for n in range(900):
        kept.add(torch.full((10 + n % 50, 3), float(n)), torch.tensor([n % 7] * (1 + n % 4)))
    assert len(kept) == 600
    groups = kept.draw(99)
    lengths = [columns.shape[1] for columns, _ in groups]
    assert sum(len(ids) for _, ids in groups) == 96 and max(lengths) - min(lengths) < 20
    for columns, ids in groups:
        for word, own in zip(columns, ids, strict=True):
            n = int(word[0, 0])
            assert len(word) == 10 + n % 50 and own[own != 99].tolist() == [n % 7] * (1 + n % 4)
    assert KeptColumns().draw(99) == []


def test_a_reader_with_or_without_a_decoder_is_started_from(cfg):
    plain, width_8 = load_strip_recognizer("strip_reader"), load_strip_recognizer("strip_reader")
    width_8.add_decoder(8)
    with pytest.raises(ValueError, match="DECODER_WIDTH 8"):
        StripDistiller(cfg).start_from(width_8)
    cfg.MODEL.STRIPS.TRAINING.DECODER_WIDTH = 8
    model = StripDistiller(cfg)
    new = model.student.decoder.embedding.weight.clone()
    model.start_from(plain)
    assert torch.equal(model.student.decoder.embedding.weight, new), "it stays"
    model.start_from(width_8)
    assert torch.equal(model.student.decoder.embedding.weight, width_8.decoder.embedding.weight)


def test_a_step_without_words_has_a_gradient_for_every_weight(cfg):
    model = StripDistiller(cfg)
    sum(model([{"words": []}]).values()).backward()
    assert all(p.grad is not None and not p.grad.any() for p in model.student.parameters())


def test_words_are_taken_with_all_characters_that_the_student_has(cfg, register_records, make_record):
    record = make_record(("stone", "river"))
    record["annotations"][0]["text"] = "caf\u00e9"
    cfg.DATASETS.TRAIN = (register_records("accented", [record]),)
    texts = {}
    for name in ("ascii", "latin"):
        cfg.MODEL.STRIPS.CHARSET = name
        batch = next(iter(StripTrainer.build_train_loader(cfg)))
        texts[name] = {word.text for sample in batch for word in sample["words"]}
    assert texts == {"ascii": {"river"}, "latin": {"caf\u00e9", "river"}}


def test_column_losses_are_those_of_their_definitions():
    torch.manual_seed(0)
    columns, wanted, logits, said = torch.randn(2, 5, 7), torch.randn(2, 5, 7), torch.randn(2, 5, 4), torch.randn(2, 5, 4)
    losses = column_distillation_losses(columns, logits, wanted, said, (1.0, 2.0))
    kl = 0
    for t in (1, 2):
        p, q = (said / t).softmax(-1), (logits / t).softmax(-1)
        kl += t * t * (p * (p / q).log()).sum(-1).mean()
    assert losses["loss_kd_characters"].item() == pytest.approx(kl.item(), rel=1e-4)
    own, other = (
        (x - x.mean(-1, keepdim=True)) / (x.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt() for x in (columns, wanted)
    )
    assert losses["loss_kd_columns"].item() == pytest.approx((own - other).pow(2).mean().item(), rel=1e-4)
    with pytest.raises(ValueError, match="columns of student"):
        column_distillation_losses(columns[:, :4], logits, wanted, said, (1.0,))


@pytest.mark.parametrize(
    "key, value, message",
    [
        ("ROWS_WEIGHTS", [1.0], "must be 2 numbers"),
        ("TEMPERATURES", [0.0], "must be positive"),
        ("ROWS", [20], "must be of 48"),
    ],
)
def test_impossible_settings_are_named(cfg, key, value, message):
    cfg.MODEL.STRIPS.TRAINING[key] = value
    with pytest.raises(ValueError, match=message):
        StripDistiller(cfg)


def test_the_training_command_trains_and_scores_a_reader(cfg, tmp_path, monkeypatch):
    from dld.cli.train import work

    class Arguments:
        config_file, opts, eval_only, resume, num_gpus = "configs/reader_ppocr.yaml", [], False, False, 0

    monkeypatch.setattr("dld.engine.setup.setup", lambda args: cfg)
    assert set(work(Arguments)["drawn_words"]) == {"48", "32", "24", "16"}
    Arguments.eval_only = True
    cfg.MODEL.WEIGHTS = os.path.join(cfg.OUTPUT_DIR, READER_FILE)
    assert set(work(Arguments)["drawn_words"]) == {"48", "32", "24", "16"}
