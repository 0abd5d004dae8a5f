"""Set-up and packaging: the requirement files agree with each other, and the set-up script does what it says."""

import ast
import hashlib
import importlib.util
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import dld
from dld.utils.collect_env import PACKAGES

ROOT = Path(__file__).resolve().parents[1]
LOCK = (ROOT / "requirements" / "lock-linux-x86_64.txt").read_text()


@pytest.fixture
def setup_env(monkeypatch, tmp_path):
    """The set-up script as a module, with its paths in a temporary folder."""
    spec = importlib.util.spec_from_file_location("setup_env", ROOT / "requirements" / "setup_env.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "VENV", tmp_path / ".venv")
    monkeypatch.setattr(module, "READY", tmp_path / ".venv" / ".dld-ready")
    monkeypatch.setattr(module, "INCOMPLETE", tmp_path / ".venv" / ".dld-incomplete")
    return module


def assignments(path: Path) -> dict[str, object]:
    """The top-level names of a file that are bound to literals."""
    values = {}
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign):
            try:
                values[node.targets[0].id] = ast.literal_eval(node.value)
            except ValueError:
                pass
    return values


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_setup_py_asks_for_nothing_that_is_not_installed_yet():
    tree = ast.parse((ROOT / "setup.py").read_text())
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert names <= {"re", "pathlib", "setuptools"}


def test_one_version_number():
    command = [sys.executable, "setup.py", "--version"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split()[-1] == dld.__version__


def test_the_environment_report_checks_the_ranges_of_setup_py():
    setup = assignments(ROOT / "setup.py")
    ranges = {}
    for requirement in setup["RUNTIME"] + setup["DETECTRON2_NEEDS"] + setup["SYNTHWORDS"]:
        name, lowest = re.match(r"([\w-]+)[>=]=([\w.]+)", requirement).groups()
        ranges[name] = re.sub(r"\.post\d+$", "", lowest)
    assert ranges == {name: lowest for name, (_, lowest) in PACKAGES.items()}


def test_the_lock_has_every_requirement_with_hashes_and_no_address():
    setup = assignments(ROOT / "setup.py")
    pins = [line for line in (ROOT / "requirements" / "fonts.txt").read_text().splitlines() if not line.startswith("#")]
    ranges = (
        setup["RUNTIME"] + setup["DETECTRON2_NEEDS"] + setup["SYNTHWORDS"] + setup["TEST"] + setup["MATLAB"] + setup["SERVE"]
    )
    wanted = {re.match(r"[\w-]+", text).group() for text in ranges}
    locked = dict(re.findall(r"^([\w.-]+)==([^\s;]+)", LOCK, re.MULTILINE))
    assert {normalised(name) for name in wanted} <= {normalised(name) for name in locked}
    assert set(pins) <= {f"{name}=={version}" for name, version in locked.items()}
    assert locked["torch"] == "2.11.0" and locked["torchvision"] == "0.26.0"
    entries = re.split(r"^(?=\S)", LOCK, flags=re.MULTILINE)[1:]
    assert all("--hash=sha256:" in entry for entry in entries if not entry.startswith("#"))
    assert "http" not in LOCK and "index-url" not in LOCK


def test_detectron2_is_the_one_wheel_that_was_looked_at():
    text = (ROOT / "requirements" / "detectron2.txt").read_text()
    assert "sal-detectron2==0.7.2" in text
    assert re.findall(r"sha256:(\w+)", text) == ["491af0c7f79bdb2d178e46f6cb16a97c4ac968d45c41ea3f6b6435d59bbee561"]


def test_the_gate_calls_lint_and_test():
    text = (ROOT / ".ci" / "run").read_text()
    assert re.findall(r"^make (\w+)$", text, re.MULTILINE) == ["lint", "test"]
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111


def test_the_slow_marker_is_registered():
    options = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]
    assert any(marker.startswith("slow:") for marker in options["markers"])


def test_the_licence_is_the_verbatim_apache_text():
    digest = hashlib.sha256((ROOT / "LICENSE").read_bytes()).hexdigest()
    assert digest == "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"


def test_only_what_the_wheel_lists_under_tools_is_removed(setup_env, tmp_path):
    (tmp_path / "sal_detectron2-0.7.2.dist-info").mkdir()
    record = "tools/__init__.py,sha256=x,0\ntools/train_net.py,,\ndetectron2/__init__.py,,\n"
    (tmp_path / "sal_detectron2-0.7.2.dist-info" / "RECORD").write_text(record)
    for name in ("tools/__init__.py", "tools/train_net.py", "tools/mine.py", "detectron2/__init__.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    assert setup_env.remove_stray_tools(tmp_path) == ["tools/__init__.py", "tools/train_net.py"]
    assert [path.name for path in (tmp_path / "tools").iterdir()] == ["mine.py"]
    (tmp_path / "tools" / "mine.py").unlink()
    setup_env.remove_stray_tools(tmp_path)
    assert not (tmp_path / "tools").exists() and (tmp_path / "detectron2" / "__init__.py").exists()


def test_the_stamp_depends_on_the_files_and_on_python(setup_env, monkeypatch, tmp_path):
    (tmp_path / "lock").write_text("a==1")
    monkeypatch.setattr(setup_env, "INPUTS", (tmp_path / "lock",))
    first = setup_env.fingerprint("3.11.7")
    assert setup_env.fingerprint("3.11.7") == first != setup_env.fingerprint("3.12.1")
    (tmp_path / "lock").write_text("a==2")
    assert setup_env.fingerprint("3.11.7") != first


def test_ready_only_with_a_whole_stamp(setup_env):
    assert not setup_env.is_ready()
    setup_env.VENV.mkdir()
    setup_env.READY.write_text("half")
    assert not setup_env.is_ready()
    setup_env.READY.write_text(setup_env.fingerprint(setup_env.platform.python_version()))
    assert setup_env.is_ready()


def test_an_environment_of_the_users_own_is_not_touched(setup_env):
    setup_env.VENV.mkdir()
    (setup_env.VENV / "precious").write_text("")
    with pytest.raises(setup_env.SetupError, match="was not made by this set-up"):
        setup_env.create_venv()
    assert (setup_env.VENV / "precious").exists()


def test_an_interrupted_set_up_is_begun_anew(setup_env, monkeypatch):
    monkeypatch.setattr(setup_env, "run", lambda *_: None)
    monkeypatch.setattr(setup_env, "DISK_BYTES", 0)
    setup_env.VENV.mkdir()
    setup_env.INCOMPLETE.write_text("")
    (setup_env.VENV / "half").write_text("")
    setup_env.create_venv()
    assert [path.name for path in setup_env.VENV.iterdir()] == [".dld-incomplete"]


@pytest.mark.parametrize("kind", ["", "latest", "upstream"])
def test_each_environment_gets_its_packages(setup_env, monkeypatch, kind):
    """The lock and the pinned wheel; the newest and the pinned wheel; the lock and what $DETECTRON2 names."""
    commands = []
    monkeypatch.setattr(setup_env, "run", lambda command, *_: commands.append([str(part) for part in command]))
    monkeypatch.setattr(setup_env, "KIND", kind)
    monkeypatch.setattr(setup_env, "PYTHON", Path(sys.executable))
    monkeypatch.setattr(setup_env, "UPSTREAM", "/a/checkout")
    monkeypatch.setattr(setup_env, "remove_stray_tools", lambda folder: [])
    setup_env.install_packages(with_uv=False)
    installed = {part for command in commands for part in command}
    assert (str(setup_env.LOCK) in installed) == (kind != "latest")
    assert (str(setup_env.DETECTRON2) in installed) == (kind != "upstream")
    assert ("/a/checkout" in installed) == (kind == "upstream")
    assert "torchvision" in installed if kind == "latest" else str(ROOT) in installed


def test_no_room_on_the_disk_is_said_before_anything_is_done(setup_env):
    with pytest.raises(setup_env.SetupError, match="1.5 GB free.*needs 7 GB"):
        setup_env.check_disk(1_500_000_000)
    setup_env.check_disk(8_000_000_000)


def test_another_platform_is_told_what_to_do(setup_env, monkeypatch):
    monkeypatch.setattr(setup_env.platform, "machine", lambda: "aarch64")
    with pytest.raises(setup_env.SetupError, match="this is Linux aarch64.*pip install -e"):
        setup_env.check_platform()


@pytest.mark.parametrize(
    "output, word",
    [
        ("error: Failed to fetch: some address\n  cause: dns error: failed to lookup address", "could not be reached"),
        ("after connection broken by 'NewConnectionError('<pip._vendor...", "could not be reached"),
        ("cause: Hash mismatch for `sal-detectron2==0.7.2`", "not installed"),
        ("THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE", "not installed"),
        ("OSError: [Errno 28] No space left on device", "disk is full"),
        ("fatal: unable to access 'https://github.com/x.git/': Could not resolve host: github.com", "DETECTRON2="),
        ("something else", ""),
    ],
)
def test_the_cause_is_read_from_what_the_installers_print(setup_env, output, word):
    assert word in setup_env.explain(output)
    assert bool(setup_env.explain(output)) == bool(word)


def test_a_failing_command_shows_the_end_of_its_output_and_the_cause(setup_env):
    script = "print('No space left on device'); raise SystemExit(3)"
    with pytest.raises(setup_env.SetupError, match=r"(?s)making tea failed \(exit code 3\).*The disk is full"):
        setup_env.run([sys.executable, "-c", script], "making tea")


def test_a_python_that_is_too_old_is_named(tmp_path):
    for name, version in (("python3", "3.9.18"), ("python3.11", None)):  # the second exists but cannot be started
        answer = f'case "$2" in *platform*) echo {version};; *) exit 1;; esac' if version else "exit 127"
        (tmp_path / name).write_text(f"#!/bin/sh\n{answer}\n")
        (tmp_path / name).chmod(0o755)
    for tool in ("bash", "dirname"):
        (tmp_path / tool).symlink_to(f"/usr/bin/{tool}")
    copy = tmp_path / "project"
    (copy / "requirements").mkdir(parents=True)
    for name in ("setup_env.sh", "select_python.sh"):
        (copy / "requirements" / name).write_text((ROOT / "requirements" / name).read_text())
    environment = {"PATH": str(tmp_path)}
    command = ["/bin/bash", "requirements/select_python.sh"]
    run = {"cwd": copy, "env": environment, "capture_output": True, "text": True}
    chosen = subprocess.run(command, **run).stdout.strip()
    assert chosen == str(copy / ".venv" / "bin" / "python")
    command = ["/bin/bash", "requirements/setup_env.sh", chosen, "test"]
    done = subprocess.run(command, **run)
    assert done.returncode == 1
    assert "3.11, 3.12 or 3.13" in done.stderr and f"{tmp_path}/python3 is 3.9.18" in done.stderr


def test_an_environment_that_has_detectron2_is_used():
    command = ["/bin/bash", str(ROOT / "requirements" / "select_python.sh")]
    environment = {"PATH": "/usr/bin:/bin", "PYTHON": sys.executable}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    # .venv's own interpreter answers for itself either way.
    assert Path(done.stdout.strip()).parent == Path(sys.executable).parent
