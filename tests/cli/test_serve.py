"""The command `dld serve`: what it says before anything is served. The server itself is tested in tests/serve."""

import subprocess
import sys

import pytest

from dld.cli import serve

WEIGHTS = ["--pretrained", "teacher_tiny"]


@pytest.fixture(autouse=True)
def no_token(monkeypatch):
    monkeypatch.delenv(serve.TOKEN_VARIABLE, raising=False)


@pytest.mark.parametrize("missing", ["fastapi", "uvicorn", "prometheus_client", "python_multipart", "fastapi_offline"])
def test_without_the_extra_the_message_says_what_to_install(missing, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, missing, None)
    assert serve.main(WEIGHTS) == 2
    error = capsys.readouterr().err
    assert 'pip install "dld[serve]"' in error and error.count("\n") == 1


def test_nothing_of_the_extra_is_imported_for_its_help():
    code = (
        "import sys\n"
        "from dld.cli import main, serve\n"
        "try: serve.main(['--help'])\n"
        "except SystemExit: pass\n"
        "print({'fastapi', 'starlette', 'uvicorn', 'prometheus_client', 'torch'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("set()\n") and "--batch-wait" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--port", "99999"], "--port must lie between 0 and 65535"),
        (["--batch-size", "0"], "--batch-size must be at least 1"),
        (["--max-pixels", "-3"], "--max-pixels must be at least 1"),
        (["--queue", "0"], "--queue must be at least 1"),
        (["--batch-wait", "-1"], "--batch-wait must not be negative"),
        (["--timeout", "nan"], "--timeout must be above 0"),
        (["--token-file", "missing.txt"], "missing.txt does not exist"),
    ],
)
def test_mistakes_end_with_a_message_and_code_2(arguments, message, capsys):
    assert serve.main([*WEIGHTS, *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_tokens(tmp_path, monkeypatch):
    file = tmp_path / "token.txt"
    file.write_text("abc-123\n")
    assert serve.read_token(str(file)) == "abc-123" and serve.read_token(None) == ""
    monkeypatch.setenv(serve.TOKEN_VARIABLE, " from-outside ")
    assert serve.read_token(None) == "from-outside" and serve.read_token(str(file)) == "abc-123"
    for content in (b"", b" \n", b"two words", "caf\u00e9".encode(), b"\xff\xfe"):
        file.write_bytes(content)
        with pytest.raises(ValueError, match="must hold a token"):
            serve.read_token(str(file))


@pytest.mark.parametrize(
    ("arguments", "warned"),
    [([], False), (["--host", "0.0.0.0"], True), (["--host", "0.0.0.0", "--token-file", "token.txt"], False)],
)
def test_a_server_for_others_without_a_token_comes_with_a_warning(arguments, warned, tmp_path, monkeypatch, capsys):
    pytest.importorskip("fastapi_offline", reason='the server needs more packages: pip install "dld[serve]"')

    def stop(host, port):
        raise OSError("not in this test")

    monkeypatch.chdir(tmp_path)
    (tmp_path / "token.txt").write_text("abc")
    monkeypatch.setattr("dld.serve.running.listen", stop)
    assert serve.main([*WEIGHTS, *arguments]) == 2
    assert ("everyone who reaches this computer" in capsys.readouterr().err) == warned
