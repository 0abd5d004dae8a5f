"""The command `dld app`: what it says before a page is served. The page itself is tested in tests/browser."""

import sys

import pytest

from dld.cli import app


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name in ("GRADIO_TEMP_DIR", "GRADIO_ANALYTICS_ENABLED", "HF_HUB_DISABLE_TELEMETRY"):
        monkeypatch.setenv(name, "")  # put back afterwards


def test_without_gradio_the_message_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert app.main([]) == 2
    error = capsys.readouterr().err
    assert 'pip install "dld[app]"' in error and "Traceback" not in error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--weights", "missing.pth"], "weights missing.pth do not exist"),
        (["--port", "99999"], "--port must lie between 1 and 65535"),
    ],
)
def test_mistakes_end_with_a_message_and_code_2(arguments, message, capsys):
    assert app.main(arguments) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("host", "alone"),
    [
        ("127.0.0.1", True),
        ("127.0.0.9", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.5", False),
        ("my-server", False),
    ],
)
def test_a_page_for_others_comes_with_a_warning(host, alone, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "gradio", None)
    app.main(["--host", host])
    assert ("everyone who reaches this computer" not in capsys.readouterr().err) == alone == app.is_this_computer(host)


def test_names_of_the_weights_tell_them_apart(tmp_path):
    paths = []
    for folder in ("a", "b", "x/a"):
        (tmp_path / folder).mkdir(parents=True)
        paths.append(str(tmp_path / folder / "model_best.pth"))
        open(paths[-1], "w").close()
    offered = app.offered_weights(paths)
    assert list(offered)[:3] == ["a/model_best.pth", "b/model_best.pth", paths[2]]
    assert "teacher_tiny" in offered and len(offered) >= 4
