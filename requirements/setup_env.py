"""Set up .venv once: the hashed lock, the pinned detectron2, and the package itself.

Run by `make` through setup_env.sh; standard library only, because it runs before anything is installed.

    setup_env.py               make or mend .venv with the Python that runs this
    setup_env.py --ready       exit code 0 if .venv (whose Python runs this) is up to date
    setup_env.py --existing    check the environment that runs this instead: it has a detectron2 of its own
    setup_env.py --latest      make or renew .venv-latest: the newest of everything that setup.py allows, not the lock
    setup_env.py --upstream    make or renew .venv-upstream: the lock, with detectron2 compiled from its repository's head, or
                               from whatever pip can install that $DETECTRON2 names (a checkout, git+https://...@COMMIT)
"""

import csv
import hashlib
import os
import platform
import re
import shutil
import ssl
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
KIND = next((kind for kind in ("latest", "upstream") if f"--{kind}" in sys.argv[1:]), "")
VENV = ROOT / (f".venv-{KIND}" if KIND else ".venv")
PYTHON = VENV / "bin" / "python"
READY, INCOMPLETE = VENV / ".dld-ready", VENV / ".dld-incomplete"
LOCK = ROOT / "requirements" / "lock-linux-x86_64.txt"
DETECTRON2 = ROOT / "requirements" / "detectron2.txt"
UPSTREAM = os.environ.get("DETECTRON2") or "git+https://github.com/facebookresearch/detectron2.git"
UV = ROOT / "requirements" / "uv.txt"
INPUTS = (LOCK, DETECTRON2, UV, ROOT / "setup.py", Path(__file__).resolve())

DISK_BYTES = 7 * 10**9
"""The packages take 5 GB unpacked; downloads in flight come on top."""

TOOLS = {"test": ("pytest", "hypothesis"), "lint": ("ruff",)}
BY_HAND = 'python -m pip install -e ".[test]"'

# What installers print -> what it means. The first that is found is said.
CAUSES = (
    (r"No space left on device|os error 28|Disk quota exceeded", "The disk is full."),
    (
        r"hash mismatch|hashes did not match|DO NOT MATCH THE HASHES",
        "The registry served a file other than the one whose hash is in requirements/; it was not installed. Suspect a "
        "mirror or proxy in between.",
    ),
    (
        r"unable to access '|Could not resolve host|does not appear to be a git repository",
        "The repository of detectron2 could not be reached. DETECTRON2=/path/to/a/checkout names one that is here.",
    ),
    (
        r"dns error|name resolution|Failed to fetch|error sending request|NewConnectionError|ConnectTimeout|ReadTimeout"
        r"|Connection (refused|reset|broken)|Network is unreachable|ProxyError|tunnel error|SSLError|peer certificate",
        "The package registry could not be reached. Check the network. Behind a proxy set HTTPS_PROXY (and "
        "SSL_CERT_FILE if it has its own certificate); with a mirror set PIP_INDEX_URL and UV_DEFAULT_INDEX.",
    ),
)


class SetupError(Exception):
    """A set-up that cannot go on; the text is for the user."""


def fingerprint(version: str) -> str:
    """Hash everything the content of .venv follows from: the requirement files and the Python version."""
    digest = hashlib.sha256(version.encode())
    for path in INPUTS:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def is_ready() -> bool:
    # what is newest is asked anew every time
    return not KIND and READY.is_file() and READY.read_text() == fingerprint(platform.python_version())


def explain(output: str) -> str:
    """Find the cause behind an installer's output, or an empty string where none is known."""
    return next((text for pattern, text in CAUSES if re.search(pattern, output, re.IGNORECASE)), "")


def run(command: list, what: str, env: dict | None = None) -> None:
    """Run a command quietly.

    Raises:
        SetupError: with the end of its output and, where known, the cause.
    """
    print(f"set-up: {what}", flush=True)
    done = subprocess.run(
        [str(part) for part in command],
        cwd=ROOT,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    if done.returncode:
        tail = "\n".join("    " + line for line in done.stdout.strip().splitlines()[-15:])
        raise SetupError(f"{what} failed (exit code {done.returncode}):\n{tail}\n{explain(done.stdout)}".rstrip())


def check_platform() -> None:
    found = f"{platform.system()} {platform.machine()}"
    if found != "Linux x86_64":
        raise SetupError(
            f"The lock is for Linux x86_64, this is {found}. Install torch, torchvision and detectron2 in an own "
            f"environment (projects/DLD/docs/install.md), then run `{BY_HAND}` and call make with PYTHON=/path/to/its/python."
        )


def check_disk(free_bytes: int) -> None:
    if free_bytes < DISK_BYTES:
        raise SetupError(
            f"The disk of {ROOT} has {free_bytes / 1e9:.1f} GB free; the environment needs {DISK_BYTES / 1e9:.0f} GB. "
            "Free some, or move the project to another disk."
        )


def create_venv() -> None:
    """Create .venv, or keep the finished one that is there when only requirements changed; never touch someone else's."""
    ours = READY.exists() or INCOMPLETE.exists()
    if VENV.exists() and not ours and any(VENV.iterdir()):
        raise SetupError(
            f"{VENV} exists and was not made by this set-up. Remove it or move it away, so that it can be made here."
        )
    config = VENV / "pyvenv.cfg"
    same_python = config.is_file() and f"version = {platform.python_version()}\n" in config.read_text()
    if READY.exists() and same_python:
        READY.replace(INCOMPLETE)
        return
    check_disk(shutil.disk_usage(ROOT).free)
    if VENV.exists():
        shutil.rmtree(VENV)
    VENV.mkdir()
    INCOMPLETE.write_text("")
    run([sys.executable, "-m", "venv", VENV], f"making {VENV.name} with Python {platform.python_version()}")


def install_uv() -> bool:
    """Install the pinned uv into .venv; False where pip has to do instead."""
    if os.environ.get("DLD_INSTALLER") == "pip":
        return False
    pip = [PYTHON, "-m", "pip", "install", "--disable-pip-version-check", "--timeout", "30", "--retries", "2"]
    try:
        run([*pip, "--require-hashes", "--only-binary=:all:", "-r", UV], "installing uv")
    except SetupError as error:
        if any(cause in str(error) for _, cause in CAUSES):
            raise
        print(f"{error}\nset-up: going on with pip")
        return False
    return True


def uv_environment() -> dict:
    """Return uv's environment: it trusts what the system trusts, as pip does; its cache is in .venv if its place is full."""
    env = {"UV_PYTHON_DOWNLOADS": "never", "UV_NO_PROGRESS": "1", **os.environ}
    if ssl.get_default_verify_paths().cafile:  # else the certificates that come with uv
        env.setdefault("UV_SYSTEM_CERTS", "1")
    if env.get("PIP_INDEX_URL"):
        env.setdefault("UV_DEFAULT_INDEX", env["PIP_INDEX_URL"])
    cache = Path(env.get("UV_CACHE_DIR") or Path(env.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "uv")
    place = next(path for path in (cache, *cache.absolute().parents) if path.exists())
    if shutil.disk_usage(place).free < DISK_BYTES or not os.access(place, os.W_OK):
        env["UV_CACHE_DIR"] = str(VENV / ".uv-cache")
    return env


def install_packages(with_uv: bool) -> None:
    # Asked of .venv itself: Debian's own Python would answer with a folder that only its system interpreter uses.
    ask = [PYTHON, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    site_packages = Path(subprocess.run(ask, check=True, capture_output=True, text=True).stdout.strip())
    env = uv_environment() if with_uv else None
    install = (
        [PYTHON, "-m", "uv", "pip", "install", "--quiet", "--python", PYTHON]
        if with_uv
        else [PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    )
    if KIND == "latest":
        # a torchvision works with one torch only and says which: resolved together they fit
        newest = [*install, "--upgrade", "torchvision", "torch", "-e", f"{ROOT}[test]"]
        run(newest, "installing the newest packages (5 GB, one to several minutes)", env)
    else:
        install_lock(install, env)
    if KIND == "upstream":
        build = [PYTHON, "-m", "pip", "install", "--disable-pip-version-check", "--no-deps", "--no-build-isolation"]
        run([*build, "--force-reinstall", UPSTREAM], f"compiling detectron2 from {UPSTREAM} (minutes)")
    else:
        install_wheel(install, site_packages, with_uv, env)
    remove_stray_tools(site_packages)
    if KIND != "latest":
        run([*install, "--no-deps", "--no-build-isolation", "-e", ROOT], "installing dld itself", env)
    shutil.rmtree(VENV / ".uv-cache", ignore_errors=True)


def install_wheel(install: list, site_packages: Path, with_uv: bool, env: dict | None) -> None:
    """Install the pinned detectron2 as CPython 3.10 would: its compiled part, which dld never loads, is for that."""
    as_310 = ["--no-deps", "--only-binary=:all:", "--python-version", "3.10", "--target", site_packages]
    as_310 += ["--reinstall"] if with_uv else ["--upgrade", "--implementation", "cp", "--abi", "cp310"]
    run([*install, *as_310, "--require-hashes", "-r", DETECTRON2], "installing detectron2", env)


def install_lock(install: list, env: dict | None) -> None:
    count = len(re.findall(r"^\S+==", LOCK.read_text(), re.MULTILINE))
    locked = [*install, "--require-hashes", "-r", LOCK]
    run(locked, f"installing {count} locked packages (5 GB, one to several minutes)", env)


def remove_stray_tools(site_packages: Path) -> list[str]:
    """Delete what detectron2 lists under top-level `tools/`, and nothing else; returns the names it removed."""
    removed = []
    for record in site_packages.glob("*detectron2-*.dist-info/RECORD"):
        with record.open(newline="") as file:
            names = [row[0] for row in csv.reader(file) if row]
        for name in names:
            parts = Path(name).parts
            if parts[0] == "tools" and ".." not in parts:
                (site_packages / name).unlink(missing_ok=True)
                removed.append(name)
        folders = {(site_packages / name).parent for name in removed}
        for folder in sorted(folders, key=lambda path: len(path.parts), reverse=True):
            shutil.rmtree(folder / "__pycache__", ignore_errors=True)
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
    return removed


def set_up() -> None:
    check_platform()
    create_venv()
    install_packages(with_uv=install_uv())
    check = "import torch, torchvision, cv2, detectron2.engine, dld"
    run([PYTHON, "-c", check], "checking that it imports")
    INCOMPLETE.unlink()
    READY.write_text(fingerprint(platform.python_version()))
    print("set-up: done", flush=True)


def check_existing(goals: list[str]) -> None:
    """Look at an environment with a detectron2 of its own, and change nothing: its packages are the user's."""
    sys.path.insert(0, str(ROOT))
    from dld.utils.collect_env import find_problems, is_installed

    problems = [problem for problem in find_problems(deep=False) if problem.severe]
    tools = [name for goal in goals for name in TOOLS.get(goal, ()) if not is_installed(name)]
    lines = [f"    {problem.text}\n        {problem.fix}" for problem in problems]
    lines += [f"    {name} is missing\n        {sys.executable} -m pip install {name}" for name in tools]
    if lines:
        listing = "\n".join(lines)
        command = BY_HAND.replace("python", sys.executable, 1)
        raise SetupError(
            f"{sys.executable} has detectron2, so it is used as it is, but\n{listing}\n"
            f"All at once:\n        {command}\nOr let make set up .venv and leave that one alone: make OWN_VENV=1 ..."
        )


def main(arguments: list[str]) -> int:
    if arguments[:1] == ["--ready"]:
        return 0 if is_ready() else 1
    try:
        if arguments[:1] == ["--existing"]:
            check_existing(arguments[1:])
        else:
            with locked():
                if not (READY.exists() and PYTHON.exists() and is_ready()):
                    set_up()
    except SetupError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nset-up: interrupted; the next make begins it anew", file=sys.stderr)
        return 130
    return 0


def locked():
    """Let one set-up run at a time: a second make waits here, then finds everything ready."""
    import fcntl

    file = open(__file__, "rb")  # noqa: SIM115 - held until it is closed by the caller's with
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
    except OSError:
        pass  # no locks on this file system: then two at once are the user's own risk
    return file


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
