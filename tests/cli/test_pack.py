"""`dld pack`: what the packed file holds, what it leaves out, and what the index says of it."""

import json
import os

import pytest
import torch
from detectron2.modeling import build_model

from dld.cli.pack import main
from dld.engine.checkpoint import SpotterCheckpointer
from dld.inference.predictor import TextSpotter
from dld.model_zoo import sha256_of, variant_id
from dld.model_zoo.card import model_card
from dld.modeling.compression.widths import configured_widths
from dld.study.measure import StudiedSpotter
from dld.weights import config_from_checkpoint, load_weights_file


def pack(checkpoint, output, *more) -> int:
    return main(["--checkpoint", str(checkpoint), "--output", str(output), *more])


@pytest.fixture
def distilled(tiny_weights, tiny_cfg):
    """What a distillation leaves behind, made of the two spotters of `tiny_weights`."""
    tiny_cfg.MODEL.META_ARCHITECTURE = "DistillMetaArch"
    tiny_cfg.MODEL.DISTILLATION.TEACHER_WEIGHTS = tiny_weights["teacher"]
    tiny_cfg.MODEL.WEIGHTS = tiny_weights["student"]
    tiny_cfg.DATASETS.REGISTER = [["mine", "/somewhere/mine.json", "/somewhere/images"]]
    tiny_cfg.DATASETS.SYNTHWORDS.FONTS_DIR = tiny_cfg.DATASETS.SYNTHWORDS.BACKGROUNDS_DIR = "/somewhere/else"
    model = build_model(tiny_cfg)
    SpotterCheckpointer(model).load(tiny_weights["student"])
    model.mu.fill_(0.123456789)
    optimizer = torch.optim.AdamW(model.parameters())
    SpotterCheckpointer(model, tiny_cfg.OUTPUT_DIR, extra={"config": tiny_cfg.dump()}, optimizer=optimizer).save(
        "distilled", iteration=41
    )
    return os.path.join(tiny_cfg.OUTPUT_DIR, "distilled.pth")


def same_words(a, b):
    assert len(a.words) == len(b.words) == 4 and a.scale == b.scale
    for p, q in zip(a.words, b.words, strict=True):
        assert p.text == q.text and p.score == pytest.approx(q.score, abs=1e-5)
        assert p.polygon == pytest.approx(q.polygon, abs=1e-2)


@pytest.mark.parametrize("name", ["teacher", "student"])
def test_weights_that_half_precision_holds_read_the_same_words(tiny_weights, tmp_path, make_record, capsys, name):
    content = torch.load(tiny_weights[name], weights_only=True)
    content["model"] = {k: v.half().float() if v.is_floating_point() else v for k, v in content["model"].items()}
    torch.save(content, tmp_path / "whole.pth")
    assert pack(tmp_path / "whole.pth", tmp_path / "half.safetensors") == 0
    assert f"{tmp_path}/half.safetensors: " in capsys.readouterr().out
    whole = TextSpotter.from_checkpoint(str(tmp_path / "whole.pth"))
    half = TextSpotter.from_checkpoint(str(tmp_path / "half.safetensors"))
    assert {p.dtype for p in half.model.parameters()} == {torch.float32}, "half precision is for the file alone"
    for seed in range(2):
        same_words(whole(make_record(seed=seed)["image"]), half(make_record(seed=seed)["image"]))


def test_every_weight_is_within_the_rounding_of_half_precision(tiny_weights, tmp_path):
    before = load_weights_file(tiny_weights["student"])["model"]
    assert pack(tiny_weights["student"], tmp_path / "half.safetensors") == 0
    after = load_weights_file(str(tmp_path / "half.safetensors"))["model"]
    assert before.keys() == after.keys()
    for name, value in before.items():
        packed = after[name]
        if value.is_floating_point() and value.dim():
            assert packed.dtype == torch.float16
            # 10 bits of mantissa, and steps of 2**-24 near zero
            torch.testing.assert_close(packed.float(), value, rtol=2**-11, atol=2**-25)
        else:
            assert packed.dtype == value.dtype and torch.equal(packed, value)
    assert os.path.getsize(tmp_path / "half.safetensors") < 0.6 * os.path.getsize(tiny_weights["student"])


def test_a_distilled_checkpoint_becomes_a_dynamic_spotter(distilled, tmp_path, make_record, capsys):
    assert pack(distilled, tmp_path / "packed.safetensors") == 0
    assert "iteration 41" in capsys.readouterr().out
    content = load_weights_file(str(tmp_path / "packed.safetensors"))
    assert set(content) == {"model", "config"}, "no optimizer, no scheduler"
    assert {n.split(".")[0] for n in content["model"]} == {"student", "selector", "mu"}, "no teacher"
    # calibrated more finely than half precision, in which it would be 0.12347
    assert content["model"]["mu"].item() == pytest.approx(0.123456789, rel=1e-6)
    spotter = TextSpotter.from_checkpoint(str(tmp_path / "packed.safetensors"))
    assert type(spotter.model).__name__ == "DynamicSpotter"
    assert spotter(make_record()["image"]).scale in (0.4, 0.6, 0.8)


@pytest.mark.parametrize("name", ["teacher", "student"])
def test_thinned_weights_are_smaller_cost_what_is_wanted_and_read(tiny_weights, tmp_path, make_record, capsys, name):
    assert pack(tiny_weights[name], tmp_path / "whole.safetensors") == 0
    assert pack(tiny_weights[name], tmp_path / "thin.safetensors", "--thin", "0.97") == 0
    said = capsys.readouterr().out
    assert "layers with fewer channels, the spotter's own layers cost 0.9" in said
    whole, thin = (StudiedSpotter.load(n, str(tmp_path / f"{n}.safetensors")) for n in ("whole", "thin"))
    widths = configured_widths(thin.cfg)
    assert widths and all(width in (16, 24) for width in widths.values())
    assert os.path.getsize(tmp_path / "thin.safetensors") < os.path.getsize(tmp_path / "whole.safetensors")
    costs = [x.model.cost_table.student.flops(torch.tensor(192 * 256), torch.tensor(8)) for x in (whole, thin)]
    assert 0.94 < float(costs[1] / costs[0]) < 0.98
    if name == "student":
        # a share of the teacher's cost is one of the whole spotter's
        assert thin.model.cost_table.teacher == whole.model.cost_table.teacher
    spotter = TextSpotter.from_checkpoint(str(tmp_path / "thin.safetensors"))
    assert len(spotter(make_record()["image"]).words) == 4
    # channels of the whole one
    kept, all_of = (load_weights_file(str(tmp_path / f"{n}.safetensors"))["model"] for n in ("thin", "whole"))
    assert kept.keys() == all_of.keys()
    conv = next(n for n in kept if any(n.endswith(f"{width}.weight") and "conv1" in width for width in widths))
    rows = {tuple(row) for row in all_of[conv].flatten(1).tolist()}
    assert len(kept[conv]) < len(all_of[conv]) and all(tuple(row) in rows for row in kept[conv].flatten(1).tolist())


@pytest.mark.parametrize(
    ("share", "more", "message"),
    [
        ("1.5", [], "--thin must be between 0 and 1"),
        ("0", [], "--thin must be between 0 and 1"),
        ("nan", [], "--thin must be between 0 and 1"),
        ("0.5", ["--name", "x", "--register-only"], "does not go with --register-only"),
        ("0.1", [], "the fewest channels that this spotter may have cost 0.9"),
    ],
)
def test_what_cannot_be_thinned_is_said(tiny_weights, tmp_path, capsys, share, more, message):
    assert pack(tiny_weights["teacher"], tmp_path / "thin.safetensors", "--thin", share, *more) == 2
    assert message in capsys.readouterr().err and not (tmp_path / "thin.safetensors").exists()


def test_nothing_of_the_training_machine_is_in_it(distilled, tmp_path):
    assert pack(distilled, tmp_path / "packed.safetensors") == 0
    text = load_weights_file(str(tmp_path / "packed.safetensors"))["config"]
    assert "/somewhere" not in text and str(tmp_path) not in text and "/tmp" not in text
    cfg = config_from_checkpoint(str(tmp_path / "packed.safetensors"))
    assert cfg.MODEL.DISTILLATION.TEACHER_WEIGHTS == "" and cfg.DATASETS.REGISTER == []
    # all the rest is as it was
    assert cfg.MODEL.SELECTOR == config_from_checkpoint(distilled).MODEL.SELECTOR


ABOUT = """
small:
  what: a small one
  licence: Apache-2.0
  training_data: [{name: drawn, what: lines, licence: CC0}]
  words_seen: 12
  trained: in a minute
  recipe: [make it]
"""


def study(path, checkpoint: str, known_as: str = "", **more) -> str:
    """A results.json with one row of the weights in `checkpoint`, or of those that studies know as something else."""
    figures = dict.fromkeys([f"{t}_{k}" for t in ("detection", "e2e") for k in ("precision", "recall", "hmean")], 0.5)
    row = {
        "name": "t @ 1", "model": "t", "choice": "fixed", "checkpoint": known_as or sha256_of(checkpoint),
        "dataset": "drawn", "images": 3, "words": 9, "short_side": 96, "device": "cpu", "threads": 2,
        "mean_scale": 1.0, "total_gflops": 1.0, "teacher_share": 1.0, "word_spotting_hmean": 0.25, "ms_per_image": 9.0,
        "e2e_interval": [0.4, 0.6], **figures, **more,
    }  # fmt: skip
    path.write_text(json.dumps([row]))
    return str(path)


@pytest.fixture
def zoo(tmp_path):
    """A folder to ship weights from, where the facts of `small` are stated."""
    folder = tmp_path / "zoo"
    folder.mkdir()
    (folder / "about.yaml").write_text(ABOUT)
    return folder


def entry_of(folder) -> dict:
    return json.loads((folder / "index.json").read_text())["small"]


def test_an_entry_is_taken_from_the_file_the_facts_and_the_studies(tiny_weights, zoo, tmp_path):
    output, results = zoo / "small.safetensors", study(tmp_path / "results.json", tiny_weights["student"])
    assert pack(tiny_weights["student"], output, "--name", "small", "--scores", results) == 0
    entry = entry_of(zoo)
    assert entry["file"] == "small.safetensors" and entry["sha256"] == sha256_of(output)
    assert entry["bytes"] == os.path.getsize(output) and entry["packed_from"] == sha256_of(tiny_weights["student"])
    assert entry["what"] == "a small one" and entry["words_seen"] == 12
    model = TextSpotter.from_checkpoint(str(output), fuse=False).model
    assert entry["parameters"] == {
        part: sum(p.numel() for p in getattr(model, name).parameters())
        for part, name in (("spotter", "student"), ("selector", "selector"))
    }
    assert "".join(model.student.roi_heads.recognizer.charset.characters) == entry["charset"]
    assert config_from_checkpoint(str(output)).MODEL.SELECTOR.SCALES == entry["config"]["MODEL"]["SELECTOR"]["SCALES"]
    assert entry["scores"]["drawn"]["rows"][0]["e2e_hmean"] == 0.5
    assert (zoo / "README.md").read_text() == model_card({"small": entry})
    assert sorted(p.name for p in zoo.iterdir()) == ["README.md", "about.yaml", "index.json", "small.safetensors"]


def test_scores_of_more_studies_are_added_without_writing_the_weights(tiny_weights, zoo, tmp_path):
    output = zoo / "small.safetensors"
    assert (
        pack(
            tiny_weights["teacher"], output, "--name", "small", "--scores", study(tmp_path / "a.json", tiny_weights["teacher"])
        )
        == 0
    )
    before = output.stat().st_mtime_ns
    # a study of the packed file itself, and later one of the checkpoint: both are of these weights
    for name, measured in (("b", str(output)), ("c", tiny_weights["teacher"])):
        more = study(tmp_path / f"{name}.json", measured, dataset=name)
        arguments = ["--output", str(output), "--name", "small", "--register-only", "--scores", more]
        assert main(arguments) == 0
    assert set(entry_of(zoo)["scores"]) == {"drawn", "b", "c"} and output.stat().st_mtime_ns == before
    assert entry_of(zoo)["parameters"].keys() == {"spotter"}


def test_scores_do_not_outlive_the_weights_they_were_measured_on(tiny_weights, zoo, tmp_path):
    output = zoo / "small.safetensors"
    results = study(tmp_path / "results.json", tiny_weights["student"])
    assert pack(tiny_weights["student"], output, "--name", "small", "--scores", results) == 0
    assert pack(tiny_weights["teacher"], output, "--name", "small") == 0
    assert entry_of(zoo)["scores"] == {} and entry_of(zoo)["sha256"] == sha256_of(output)


def test_scores_of_other_weights_leave_everything_as_it_was(tiny_weights, zoo, tmp_path, capsys):
    output, results = zoo / "small.safetensors", study(tmp_path / "results.json", tiny_weights["teacher"])
    assert pack(tiny_weights["student"], output, "--name", "small", "--scores", results) == 2
    assert "has no row of these weights" in capsys.readouterr().err
    assert [p.name for p in zoo.iterdir()] == ["about.yaml"]


def test_a_checkpoint_that_is_not_what_was_packed_is_refused(tiny_weights, zoo, capsys):
    output = zoo / "small.safetensors"
    assert pack(tiny_weights["teacher"], output) == 0
    assert pack(tiny_weights["teacher"], output, "--name", "small", "--register-only") == 0
    content = torch.load(tiny_weights["teacher"], weights_only=True)
    name = next(n for n, v in content["model"].items() if v.is_floating_point())
    content["model"][name] += 0.5
    torch.save(content, zoo / "other.pth")
    for checkpoint in (zoo / "other.pth", tiny_weights["student"]):
        assert pack(checkpoint, output, "--name", "small", "--register-only") == 2
        assert "does not hold the weights of" in capsys.readouterr().err


def test_without_a_name_there_is_no_index(tiny_weights, tmp_path):
    assert pack(tiny_weights["student"], tmp_path / "x.safetensors") == 0
    assert not (tmp_path / "index.json").exists()


def test_without_a_checkpoint_there_is_nothing_to_pack(tmp_path, capsys):
    assert main(["--output", str(tmp_path / "x.safetensors")]) == 2
    assert "--checkpoint says what is packed" in capsys.readouterr().err


def test_mistakes_end_with_a_message_and_code_2(tiny_weights, tmp_path, capsys):
    good, out = tiny_weights["student"], tmp_path / "x.safetensors"
    (tmp_path / "text.pth").write_text("no weights")
    torch.save({"model": {"weight": torch.zeros(2)}}, tmp_path / "foreign.pth")
    torch.save({"model": {}, "config": "MODEL:\n  FUTURE_KEY: 1\n"}, tmp_path / "future.pth")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "index.json").write_text("{")
    for checkpoint, output, more, message in (
        (tmp_path / "none.pth", out, [], "none.pth"),
        (tmp_path / "text.pth", out, [], "text.pth is not a checkpoint"),
        (tmp_path / "foreign.pth", out, [], "foreign.pth holds no configuration"),
        (tmp_path / "future.pth", out, [], "FUTURE_KEY"),
        (good, tmp_path / "x.pth", [], "--output must end in .safetensors"),
        (good, tmp_path / "no" / "folder" / "x.safetensors", [], "no/folder/x.safetensors"),
        (good, out, ["--name", "x", "--about", "nothing.yaml"], "nothing.yaml does not exist: it must have a section 'x'"),
        (good, out, ["--scores", "results.json"], "give its --name"),
        (good, tmp_path / "broken" / "x.safetensors", ["--name", "x"], "index.json is not json"),
    ):
        assert pack(checkpoint, output, *more) == 2
        assert message in capsys.readouterr().err
        assert not output.exists()


def test_the_configuration_in_the_file_can_be_changed(tiny_weights, tmp_path, capsys):
    output = tmp_path / "packed.safetensors"
    assert pack(tiny_weights["teacher"], output, "--opts", "MODEL.RECOGNITION.SCORE_THRESH_TEST", "0.25") == 0
    assert TextSpotter.from_checkpoint(output).model.min_text_score == 0.25
    assert config_from_checkpoint(str(output)).DATASETS.TRAIN == ("synthwords_train",)
    assert pack(tiny_weights["teacher"], output, "--opts", "MODEL.RECOGNITION.NOSUCH", "1") == 2
    assert "NOSUCH" in capsys.readouterr().err
    assert pack(tiny_weights["teacher"], output, "--opts", "MODEL.RECOGNITION.NOSUCH") == 2
    assert "KEY VALUE" in capsys.readouterr().err


MU = ("MODEL.SELECTOR.MU", "2.5", "MODEL.DISTILLATION.GAMMA", "0.25")


@pytest.fixture
def with_variant(tiny_weights, zoo):
    """A zoo with `small` and its variant `cheap`; its index as a path."""
    (zoo / "about.yaml").write_text(ABOUT + "cheap:\n  what: a cheap one\n  recipe: [enter it]\n")
    assert pack(tiny_weights["student"], zoo / "small.safetensors", "--name", "small") == 0
    assert main(["--name", "cheap", "--of", "small", "--output", str(zoo / "index.json"), "--opts", *MU]) == 0
    return zoo / "index.json"


def test_a_variant_is_entered_without_a_file(with_variant):
    index = json.loads(with_variant.read_text())
    assert index["cheap"] == {
        "what": "a cheap one",
        "of": "small",
        "options": {"MODEL.DISTILLATION.GAMMA": 0.25, "MODEL.SELECTOR.MU": 2.5},
        "recipe": ["enter it"],
        "scores": {},
    }
    assert (with_variant.parent / "README.md").read_text() == model_card(index)
    assert [path.name for path in with_variant.parent.glob("*.safetensors")] == ["small.safetensors"]


def test_scores_of_a_variant_are_those_of_its_options(with_variant, tiny_weights, tmp_path, capsys):
    zoo = with_variant.parent
    again = ["--name", "cheap", "--of", "small", "--output", str(with_variant)]
    known_as = variant_id(entry_of(zoo)["sha256"], {"MODEL.DISTILLATION.GAMMA": 0.25, "MODEL.SELECTOR.MU": 2.5})
    of_variant = study(tmp_path / "a.json", zoo / "small.safetensors", known_as=known_as)
    of_base = study(tmp_path / "b.json", zoo / "small.safetensors")
    assert main([*again, "--scores", of_base]) == 2 and "has no row of these weights" in capsys.readouterr().err
    assert main([*again, "--scores", of_variant]) == 0
    assert set(json.loads(with_variant.read_text())["cheap"]["scores"]) == {"drawn"}
    # what it was measured as while it was a file
    index = json.loads(with_variant.read_text())
    index["cheap"]["packed_from"] = "5a"
    with_variant.write_text(json.dumps(index))
    former = study(tmp_path / "c.json", zoo / "small.safetensors", known_as="5a", dataset="former")
    assert main([*again, "--scores", former]) == 0
    entry = json.loads(with_variant.read_text())["cheap"]
    assert set(entry["scores"]) == {"drawn", "former"} and entry["packed_from"] == "5a"
    # the same weights entered again keep it, other options or other weights do not
    assert pack(tiny_weights["student"], zoo / "small.safetensors", "--name", "small") == 0
    assert json.loads(with_variant.read_text())["cheap"] == entry
    assert main([*again, "--opts", "MODEL.SELECTOR.MU", "4"]) == 0
    entry = json.loads(with_variant.read_text())["cheap"]
    assert entry["options"] == {"MODEL.SELECTOR.MU": 4.0} and entry["scores"] == {} and "packed_from" not in entry


def test_scores_of_a_variant_do_not_outlive_the_weights_it_is_of(with_variant, tiny_weights):
    index = json.loads(with_variant.read_text())
    index["cheap"] |= {"scores": {"drawn": {}}, "packed_from": "5a"}
    with_variant.write_text(json.dumps(index))
    changed = torch.load(tiny_weights["student"], weights_only=True)
    name = next(n for n, v in changed["model"].items() if v.is_floating_point() and v.dim())
    changed["model"][name] += 0.5
    torch.save(changed, with_variant.parent / "other.pth")
    assert pack(with_variant.parent / "other.pth", with_variant.parent / "small.safetensors", "--name", "small") == 0
    entry = json.loads(with_variant.read_text())["cheap"]
    assert entry["scores"] == {} and "packed_from" not in entry


def test_mistakes_about_variants_end_with_a_message_and_code_2(with_variant, tiny_weights, capsys):
    zoo, before = with_variant.parent, with_variant.read_text()
    to, cheap = ["--output", str(with_variant)], ["--name", "cheap", "--of", "small"]
    for arguments, message in (
        ([*to, "--of", "small", "--opts", *MU], "give the variant a --name"),
        ([*to, "--name", "small", "--of", "small", "--opts", *MU], "--name of its own"),
        ([*to, "--name", "cheap", "--of", "cheap2", "--opts", *MU], "--of cheap2"),
        ([*to, "--name", "small", "--of", "cheap", "--opts", *MU], "section 'small', has the unknown key"),
        ([*to, *cheap, "--checkpoint", tiny_weights["student"], "--opts", *MU], "takes neither --checkpoint"),
        (["--output", str(zoo / "x.safetensors"), *cheap, "--opts", *MU], "is the index.json"),
        ([*to, *cheap, "--opts", "MODEL.SELECTOR.MU", "0.0"], "change nothing"),
        ([*to, *cheap, "--opts", "MODEL.SELECTOR.NOSUCH", "1"], "NOSUCH"),
        ([*to, *cheap, "--opts", "MODEL.SELECTOR.MU"], "KEY VALUE"),
        (["--checkpoint", tiny_weights["student"]], "--output says"),
    ):
        assert main(arguments) == 2
        assert message in capsys.readouterr().err
    (zoo / "small.safetensors").write_bytes(b"other")
    assert main([*to, *cheap, "--opts", *MU]) == 2 and "is not the one that" in capsys.readouterr().err
    assert with_variant.read_text() == before
