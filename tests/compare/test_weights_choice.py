import pytest

from dld.compare.weights_choice import WeightsChoice


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("dld_tiny", ("dld_tiny", "dld_tiny", None, None)),
        ("dld_tiny@0.5", ("dld_tiny@0.5", "dld_tiny", 0.5, None)),
        ("dld_tiny@budget=0.4", ("dld_tiny@budget=0.4", "dld_tiny", None, 0.4)),
        ("ours=dld_tiny@0.5", ("ours", "dld_tiny", 0.5, None)),
        ("out/run/model_best.pth@0.7", ("run/model_best.pth@0.7", "out/run/model_best.pth", 0.7, None)),
    ],
)
def test_one_word_says_weights_scale_and_budget(text, expected):
    assert WeightsChoice.parse(text) == WeightsChoice(*expected)


def test_a_file_may_have_both_signs_in_its_name(tmp_path):
    path = tmp_path / "a=b@0.5"
    path.touch()
    assert WeightsChoice.parse(f"{path}@0.7") == WeightsChoice(f"{tmp_path.name}/a=b@0.5@0.7", str(path), 0.7)
    assert WeightsChoice.parse(str(path)).scale is None and WeightsChoice.parse(str(path)).path() == str(path)


@pytest.mark.parametrize("text", ["dld_tiny@half", "dld_tiny@3", "dld_tiny@cost=0.4", "dld_tiny@budget=0", "=x", "a="])
def test_what_makes_no_sense_is_quoted(text):
    with pytest.raises(ValueError, match=text):
        WeightsChoice.parse(text)


def test_missing_files_and_unknown_names_are_told_apart():
    with pytest.raises(FileNotFoundError, match="out/x.pth do not exist"):
        WeightsChoice.parse("out/x.pth").path()
    with pytest.raises(KeyError, match="nothing"):
        WeightsChoice.parse("nothing").path()
    assert WeightsChoice.parse("teacher_tiny").path().endswith("teacher_tiny.safetensors")
