#!/usr/bin/env bash
# Prints the interpreter that make uses: the first of $PYTHON, the active virtual or conda environment and python3 in which
# detectron2 is installed already; otherwise the project's own .venv, whether it exists yet or not.
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

own="$PWD/.venv/bin/python"

has_detectron2() {
    "$1" - "$PWD/.venv" >/dev/null 2>&1 <<'PYTHON'
import importlib.util, os, sys
spec = importlib.util.find_spec("detectron2")
own_environment = os.path.realpath(sys.prefix) == os.path.realpath(sys.argv[1])
sys.exit(0 if spec is not None and spec.origin and not own_environment else 1)
PYTHON
}

if [ -z "${OWN_VENV:-}" ]; then
    for candidate in "${PYTHON:-}" "${VIRTUAL_ENV:+$VIRTUAL_ENV/bin/python}" "${CONDA_PREFIX:+$CONDA_PREFIX/bin/python}" python3
    do
        if [ -n "$candidate" ] && has_detectron2 "$candidate"; then
            "$candidate" -c 'import sys; print(sys.executable)'
            exit 0
        fi
    done
fi
echo "$own"
