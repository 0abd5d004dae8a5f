"""The model card says what the index says, of any number of weights, and the committed one is that of the committed index."""

import copy
import math
import re

import pytest
from safetensors import safe_open

from dld import model_zoo
from dld.model_zoo import list_weights
from dld.model_zoo.card import main, model_card

# Mitchell et al. 2019, figure 1
SECTIONS = ["Details", "Intended use", "Out of scope", "Factors", "Metrics", "Evaluation data", "Training data",
            "Quantitative analyses", "Limitations and ethical considerations", "How to repeat it"]  # fmt: skip


def cells(card: str, first: str) -> list[list[str]]:
    """Rows of the table whose header begins with `first`, without header."""
    rows, lines = [], iter(card.splitlines())
    for line in lines:
        if line.startswith(f"| {first} |"):
            next(lines)
            for body in lines:
                if not body.startswith("|"):
                    return rows
                rows.append([cell.strip() for cell in body.strip("|").split(" | ")])
    return rows


def test_the_committed_card_is_that_of_the_committed_index():
    committed = (model_zoo.FOLDER / "README.md").read_text(encoding="utf-8")
    assert committed == model_card(list_weights()), "run `python -m dld.model_zoo.card`"
    assert main(["--check"]) == 0


def test_a_card_has_the_sections_of_a_model_card():
    assert re.findall(r"^## (.*)$", model_card(list_weights()), re.MULTILINE) == SECTIONS


def test_only_words_that_are_not_read_from_strips_have_a_longest():
    lines = re.findall(r"^- `(\w+)`: (?:reads|chooses).*", model_card(list_weights()), re.MULTILINE)
    assert sorted(lines) == sorted(list_weights())
    crops = copy.deepcopy(list_weights()["dld_tiny"])
    crops["config"]["MODEL"]["RECOGNITION"]["READER"] = ""
    card = model_card({**list_weights(), "crops": crops})
    assert re.findall(r"^- `(\w+)`: .*words of at most 32 characters", card, re.MULTILINE) == ["crops"]


def test_a_variant_has_the_details_of_its_own_and_no_file():
    options = {"MODEL.DISTILLATION.GAMMA": 0.25, "MODEL.SELECTOR.MU": 2.5}
    base, variant = (
        list_weights()["dld_tiny"],
        {"what": "cheap", "of": "base", "options": options, "recipe": ["do"], "scores": {}},
    )
    card = model_card({"base": base, "cheap": variant})
    assert "- `cheap`: chooses among the scales 0.3, 0.4, 0.5, 0.6, 0.7, 0.8; gamma 0.25 (" in card
    assert "; a variant: `base` with `MODEL.DISTILLATION.GAMMA 0.25 MODEL.SELECTOR.MU 2.5`\n" in card
    assert [row[-2:] for row in cells(card, "weights | what")][1] == ["none", "the file of `base`"]


def test_the_size_of_the_reader_is_that_of_its_file():
    with safe_open(model_zoo.FOLDER / "strip_reader.safetensors", "pt") as file:
        shapes = [file.get_slice(name).get_shape() for name in file.keys() if name != "charset_codes"]  # noqa: SIM118
    millions = sum(math.prod(shape) for shape in shapes) / 1e6
    assert f"`strip_reader.safetensors` ({millions:.1f} M parameters" in model_card(list_weights())


@pytest.mark.parametrize("count", [0, 1, 4])
def test_any_number_of_weights(count):
    entry = next(iter(list_weights().values()))
    index = {f"weights_{i}": copy.deepcopy(entry) | {"sha256": f"{i:064d}"} for i in range(count)}
    card = model_card(index)
    assert re.findall(r"^## (.*)$", card, re.MULTILINE) == SECTIONS
    assert [row[0] for row in cells(card, "weights | what")] == [f"`{name}`" for name in index]
    assert not re.findall(r"\$[a-z]", card), "a part of the template that was not filled in"


def test_the_figures_of_the_card_are_those_of_the_index():
    index = list_weights()
    rows = cells(model_card(index), "data | weights | images | mean scale")
    headlines = {(row[0].strip("`"), row[1].strip("`")): row for row in rows}
    assert len(headlines) == sum(len(entry["scores"]) for entry in index.values())
    for (data, name), row in headlines.items():
        best = index[name]["scores"][data]["rows"][0]
        assert int(row[2].replace(",", "")) == index[name]["scores"][data]["images"]
        assert float(row[3]) == pytest.approx(best["mean_scale"], abs=0.006)
        assert float(row[4]) == pytest.approx(best["total_gflops"], abs=0.06)
        precision, recall, hmean = (float(x) for x in row[7].split(" [")[0].split(" / "))
        assert [precision, recall, hmean] == pytest.approx(
            [100 * best[f"e2e_{key}"] for key in ("precision", "recall", "hmean")], abs=0.06
        )
        # what a reader may check by hand
        assert hmean == pytest.approx(2 * precision * recall / (precision + recall), abs=0.1)


def test_the_evaluation_data_say_which_weights_were_measured_on_them():
    index = list_weights()
    rows = cells(model_card(index), "data | weights | images | words")
    named = [
        (data.strip("`"), name.strip("`"), int(images.replace(",", "")))
        for data, names, images, *_ in rows
        for name in names.split(", ")
    ]
    assert sorted(named) == sorted((d, n, s["images"]) for n, entry in index.items() for d, s in entry["scores"].items())


def test_an_entry_without_scores_is_a_card_without_tables_of_scores():
    index = {"new": {**next(iter(list_weights().values())), "scores": {}}}
    card = model_card(index)
    assert cells(card, "data | weights | images | mean scale") == [] and "ms: not measured" in card


def test_text_with_bars_does_not_break_a_table():
    index = {"odd": {**next(iter(list_weights().values())), "what": "a | b\nc"}}
    assert cells(model_card(index), "weights | what")[0][1] == r"a \| b c"


def test_an_entry_of_an_older_kind_is_named():
    entry = {k: v for k, v in next(iter(list_weights().values())).items() if k != "charset"}
    with pytest.raises(ValueError, match="the index lacks 'charset' of 'old'"):
        model_card({"old": entry})


def test_another_card_is_found_out_and_written_anew(tmp_path, monkeypatch, capsys):
    (tmp_path / "index.json").write_text((model_zoo.FOLDER / "index.json").read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.setattr(model_zoo, "FOLDER", tmp_path)
    assert main(["--check"]) == 1 and "is not the card" in capsys.readouterr().out
    assert main([]) == 0 and main(["--check"]) == 0


def test_nothing_of_the_training_machine_is_in_index_or_card():
    for name in ("index.json", "README.md", "about.yaml"):
        text = (model_zoo.FOLDER / name).read_text(encoding="utf-8")
        # a path from the root: a slash that follows nothing a relative path or an address could begin with
        assert not re.findall(r"(?:^|[\s\"'=(])/[a-z]+/[^\s\"')]*", text)
