"""Docstrings of functions and methods begin with a verb in the imperative ("Return ...", "Draw ..."); properties are nouns.

No list of verbs is kept: what opens a description of a thing instead is refused. ruff's D401 knows more forms of verbs, but
takes "Whether ..." and "Pixels of ..." for verbs, too.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted(p for part in ("dld", "projects", "requirements") for p in (ROOT / part).rglob("*.py"))

NO_VERBS = set(
    # articles, determiners, numerals
    "a an the this that these those each every all any some no none one two three four everything something nothing "
    # pronouns, words of questions
    "it its they their he she we you what which whether who whose how why where when "
    # prepositions, conjunctions, adverbs
    "about above after as at before behind below beside between by during for from if in inside into of off on once only "
    "out outside over since so than then through to under until unless upon with within without and or but not".split()
)


def begins_with_verb(docstring: str) -> bool:
    """Tell whether the first word may be an imperative: one capitalised word, no noun in the plural, no "-s" and no "-ing"."""
    found = re.match(r"([A-Z][a-z]+)(?=[\s,:.;]|$)", docstring)
    if found is None or (word := found[1].lower()) in NO_VERBS:
        return False
    return not re.search(r"[^s]s$|[aeiou].*ing$", word)


def docstrings_of_functions(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield line and docstring of every function that has one, properties left out."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (docstring := ast.get_docstring(node)):
            if not any("property" in ast.unparse(decorator) for decorator in node.decorator_list):
                yield node.lineno, docstring


@pytest.mark.parametrize("first", ["Return the", "Measure, at", "Put", "Pass on", "Guess", "Bring back", "Clip to [0, 1]"])
def test_imperatives_pass(first):
    assert begins_with_verb(first)


@pytest.mark.parametrize(
    "first",
    ["The words of", "A file", "Whether it", "How many", "Pixels of", "Results", "Raises", "Reading", "Inside, it", "x0, y0"]
    + ["`path` itself", ":meth:`forward` of", "L_roi: mean", "(weights, data)", "0 for none", "SHA-256 of", "One row a word"],
)
def test_descriptions_of_things_do_not(first):
    assert not begins_with_verb(first)


def test_properties_may_be_nouns():
    tree = ast.parse("class A:\n @functools.cached_property\n def f(self):\n  'Words.'\n def g(self):\n  'Words of it.'")
    assert list(docstrings_of_functions(tree)) == [(5, "Words of it.")]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_functions_say_what_they_do(path):
    wrong = [
        f"{path}:{line}: {docstring.splitlines()[0]}"
        for line, docstring in docstrings_of_functions(ast.parse(path.read_text(encoding="utf-8")))
        if not begins_with_verb(docstring)
    ]
    assert not wrong, "begin with a verb (Return, Tell whether, Count, ...):\n" + "\n".join(wrong)
