"""Entries of the index: what is read of about.yaml and of studies, what is refused, and how it is written."""

import json

import pytest

from dld.model_zoo.index import index_text, read_about, read_index, read_scores

ABOUT = """
small:
  what: a small one
  licence: Apache-2.0
  training_data: [{name: drawn, what: lines, licence: CC0}]
  words_seen: 12
  trained: in a minute
  recipe: [make it]
"""


def row(**more) -> dict:
    """A row of results.json as `dld analyze` writes it, shortened."""
    figures = {f"{task}_{key}": 0.5 for task in ("detection", "e2e") for key in ("precision", "recall", "hmean")}
    return {
        "name": "teacher @ 1", "model": "teacher", "choice": "fixed", "checkpoint": "aa", "dataset": "drawn", "images": 3,
        "words": 9, "short_side": 640, "device": "cpu", "threads": 2, "mean_scale": 1.0, "total_gflops": 17.153459,
        "teacher_share": 1.0, "word_spotting_hmean": 0.25, "ms_per_image": 96.44, "e2e_interval": [0.40746, 0.5], **figures,
        "command": "python analyze_model.py --teacher 'a b.pth' --opts MODEL.INFERENCE_DTYPE bfloat16", **more,
    }  # fmt: skip


@pytest.fixture
def results(tmp_path):
    def write(rows, name="results.json") -> str:
        (tmp_path / name).write_text(rows if isinstance(rows, str) else json.dumps(rows))
        return str(tmp_path / name)

    return write


def test_scores_are_those_of_the_rows_of_these_weights(results):
    path = results([row(), row(checkpoint="bb", model="other", e2e_hmean=0.9), row(mean_scale=0.5, e2e_hmean=0.123456)])
    scores = read_scores([path], {"aa"})["drawn"]
    assert (scores["images"], scores["words"], scores["short_side"], scores["source"]) == (3, 9, 640, "results.json")
    assert scores["options"] == "MODEL.INFERENCE_DTYPE bfloat16"
    assert [r["mean_scale"] for r in scores["rows"]] == [1.0, 0.5]
    assert scores["rows"][0]["e2e_interval"] == [0.4075, 0.5] and scores["rows"][0]["total_gflops"] == 17.15
    assert scores["rows"][1]["e2e_hmean"] == 0.1235


def test_the_headline_of_a_selector_is_its_own_choice(results):
    path = results(
        [
            row(mean_scale=0.8, model="dld"),
            row(choice="budget", budget="0.4", mean_scale=0.5, model="dld"),
            row(choice="chosen", mean_scale=0.66, model="dld"),
        ]
    )
    rows = read_scores([path], {"aa"})["drawn"]["rows"]
    assert [r["choice"] for r in rows] == ["chosen", "fixed", "budget"] and rows[2]["budget"] == "0.4"


def test_times_of_a_quiet_run_say_how_many_images_they_are_of(results):
    assert read_scores([results([row()])], {"aa"})["drawn"]["ms_images"] == 3
    assert read_scores([results([row(ms_images=2)])], {"aa"})["drawn"]["ms_images"] == 2


def test_several_studies_are_several_data_sets(results):
    files = [results([row()], "one.json"), results([row(dataset="photos", command="")], "two.json")]
    scores = read_scores(files, {"aa"})
    assert {name: s["source"] for name, s in scores.items()} == {"drawn": "one.json", "photos": "two.json"}
    assert scores["photos"]["options"] == ""


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([row(checkpoint="bb")], r"results\.json has no row of these weights \(checkpoint aa\)"),
        ([row(mean_scale=0.8)], "'teacher' neither at its own choice nor at scale 1"),
        ([row(), row(model="again")], "under several names: again, teacher"),
        ([{k: v for k, v in row().items() if k != "e2e_hmean"}], "a row lacks 'e2e_hmean'"),
        ([row(choice="guessed")], "unknown choice 'guessed'"),
        ("{", r"results\.json is no results\.json"),
        ("[3]", r"results\.json is no results\.json"),
    ],
)
def test_results_that_say_nothing_of_the_weights_are_refused(results, rows, message):
    with pytest.raises(ValueError, match=message):
        read_scores([results(rows)], {"aa"})


def test_a_missing_results_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="none.json does not exist"):
        read_scores([tmp_path / "none.json"], {"aa"})


def test_a_section_is_read_whole(tmp_path):
    (tmp_path / "about.yaml").write_text(ABOUT)
    about = read_about(tmp_path / "about.yaml", "small")
    assert about["training_data"] == [{"name": "drawn", "what": "lines", "licence": "CC0"}]
    assert about["words_seen"] == 12 and list(about)[0] == "what"


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        (None, FileNotFoundError, "must have a section 'small' with what, licence"),
        ("other: {}", KeyError, "no section 'small'"),
        ("small: [", ValueError, "about.yaml is not yaml"),
        (ABOUT.replace("  licence: Apache-2.0\n", ""), ValueError, "section 'small', lacks licence"),
        (ABOUT.replace("what: a small one", "what: ''"), ValueError, "lacks what"),
        (ABOUT + "  hmean: 0.9\n", ValueError, "has the unknown key 'hmean'"),
        (ABOUT.replace(", licence: CC0", ""), ValueError, "must be a list of entries with name, what and licence"),
        (ABOUT.replace("[make it]", "make it"), ValueError, "recipe must be a list of commands"),
        (ABOUT + "  recipe2: !!python/object/apply:os.getcwd []\n", ValueError, "is not yaml"),
    ],
)
def test_what_is_not_stated_is_asked_for(tmp_path, text, error, message):
    if text is not None:
        (tmp_path / "about.yaml").write_text(text)
    with pytest.raises(error, match=message):
        read_about(tmp_path / "about.yaml", "small")


def test_the_text_of_an_index_is_the_index(tmp_path):
    index = {
        "b": {"rows": [{"x": 1}, {"x": [2, 3]}], "long": {f"key{i}": "é" * 10 for i in range(40)}, "none": None, "empty": {}},
        "a": {"charset": 'a"\\`\n', "nested": {"deep": {"deeper": [[1], [2.5]]}}, "list": []},
    }
    text = index_text(index)
    assert json.loads(text) == index and list(json.loads(text)) == ["a", "b"]
    assert '{"x": [2, 3]}' in text and max(map(len, text.splitlines())) < 500
    (tmp_path / "index.json").write_text(text, encoding="utf-8")
    assert read_index(tmp_path / "index.json") == index
    assert read_index(tmp_path / "none.json") == {}
