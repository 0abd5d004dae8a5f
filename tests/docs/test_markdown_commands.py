"""What counts as a command of a markdown file, and what does not."""

import pytest
from markdown_commands import commands_of, shell_commands
from run_settings import Run
from running import change_command, record

PAGE = """# Title

Text about `dld export`, and `make`; but `dld check --json labels.json` and `python tools/demo.py
...` are commands, as is `FUZZ=1 pytest tests`. `pytest tests` names no option, setting or script.

```bash
make demo   # a comment with 'one quotation mark
python train.py --config a.yaml \\
    KEY "[1, 2]"      # a "comment"

echo "# no comment"
```

    pip install -e .     # ".[test]" for more
    python -m dld.utils.collect_env

```python
import dld

dld.go()
```

```json
{"python": "no command"}
```

```
 image ---> python
```

```
dld spot
```

| table | `python a.py` |
"""


@pytest.fixture
def page(tmp_path):
    path = tmp_path / "page.md"
    path.write_text(PAGE)
    return commands_of(path, "page.md")


def test_commands_with_their_lines(page):
    assert [(c.line, c.text) for c in page if c.language == "bash"] == [
        (3, "dld check --json labels.json"),
        (3, "python tools/demo.py ..."),
        (4, "FUZZ=1 pytest tests"),
        (7, "make demo"),
        (8, 'python train.py --config a.yaml KEY "[1, 2]"'),
        (11, 'echo "# no comment"'),
        (14, "pip install -e ."),
        (15, "python -m dld.utils.collect_env"),
        (32, "dld spot"),
        (35, "python a.py"),
    ]


def test_a_block_of_python_is_one_command(page):
    assert [(c.line, c.text) for c in page if c.language == "python"] == [(18, "import dld\n\ndld.go()")]


def test_loops_and_variables_belong_to_one_command():
    lines = ['common="A 1 \\', '  B 2"', "for x in a b; do", "  python t.py $x $common", "done", "", "ls"]
    assert list(shell_commands(lines)) == [
        (0, 'common="A 1 B 2"; for x in a b; do python t.py $x $common; done'),
        (6, "ls"),
    ]


def test_a_command_without_end_is_an_error():
    with pytest.raises(ValueError, match="has no end: for x in a"):
        list(shell_commands(["for x in a; do", "  ls"]))


def test_the_shell_decides_what_the_program_gets(tmp_path):
    (tmp_path / "a.png").touch()
    (tmp_path / "in").write_text("pixels")
    text = """v="K (1,2)"; for x in a b; do python t.py $x.y *.png "*.png" "[('s', '')]" '' $v; done < in"""
    started, stdin = record(text, tmp_path)
    assert started == [["python", "t.py", f"{x}.y", "a.png", "*.png", "[('s', '')]", "", "K", "(1,2)"] for x in "ab"]
    assert stdin == b""  # the first one took it all
    assert record("dld spot --input - < in", tmp_path) == ([["dld", "spot", "--input", "-"]], b"pixels")


def test_a_change_that_fits_no_more_is_an_error():
    assert change_command("dld a --limit 9", Run(change=(("--limit 9", "--limit 2"),), append="--b")) == "dld a --limit 2 --b"
    with pytest.raises(AssertionError, match="'--limit 9' does not stand in: dld a"):
        change_command("dld a", Run(change=(("--limit 9", ""),)))
