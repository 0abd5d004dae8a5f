#!/usr/bin/env bash
# setup_env.sh INTERPRETER [GOAL...]: make the interpreter that select_python.sh chose ready for use. Only finds a Python that can
# run setup_env.py, which does the work.
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

chosen="$1"
shift
script=requirements/setup_env.py

case $chosen in
"$PWD/.venv/bin/python" | "$PWD/.venv-latest/bin/python" | "$PWD/.venv-upstream/bin/python") ;;
*)
    if ! "$chosen" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
        echo "error: $chosen has detectron2, but is older than Python 3.11. To leave it alone: make OWN_VENV=1 $*" >&2
        exit 1
    fi
    exec "$chosen" $script --existing "$@"
    ;;
esac
if [ -x "$chosen" ] && "$chosen" $script --ready "$@" 2>/dev/null; then
    exit 0
fi

candidates=(python3.13 python3.12 python3.11 python3)
if [ -n "${PYTHON:-}" ]; then
    candidates=("$PYTHON")
fi
found=()
for candidate in "${candidates[@]}"; do
    path=$(command -v "$candidate") || continue
    # Asked, not read off its name: the launchers of version managers exist for versions that cannot be started.
    version=$("$candidate" -c 'import platform; print(platform.python_version())' 2>/dev/null) || continue
    if ! "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))'; then
        found+=("$path is $version")
    elif ! "$candidate" -c 'import ensurepip, venv' 2>/dev/null; then
        found+=("$path is $version but has no venv: apt install python${version%.*}-venv, or the like")
    else
        exec "$candidate" $script "$@"
    fi
done
{
    echo "error: Python 3.11, 3.12 or 3.13 with its venv module is needed. Looked for: ${candidates[*]}. Found:"
    printf '    %s\n' "${found[@]:-none that starts}"
    echo "Install one of them, or name it: make PYTHON=/path/to/python3.12 $*"
} >&2
exit 1
