#!/bin/bash
# Makes .venv beside this folder: the versions of requirements.lock, checked by their hashes, and the project itself, editable.
# Uses uv where there is one, else Python's own venv module. With --needs it only prints the Debian packages that it lacks.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { echo "venv: $*" >&2; }
fits() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }
whole() { "$1" -c 'import ensurepip, venv' 2>/dev/null; }
quietly() { # COMMAND...: shows what it said only if it failed
  local log; log=$(mktemp)
  if "$@" </dev/null >"$log" 2>&1; then rm -f "$log"; else tail -n 30 "$log" >&2; rm -f "$log"; return 1; fi
}

python=
for candidate in python3.11 python3.12 python3.13 python3; do
  if command -v "$candidate" >/dev/null && fits "$candidate"; then python=$candidate; break; fi
done

if [ "${1:-}" = --needs ]; then
  if command -v uv >/dev/null; then :; elif [ -z "$python" ]; then echo python3 python3-venv; elif ! whole "$python"; then echo python3-venv; fi
  exit
fi

if command -v uv >/dev/null; then
  fits .venv/bin/python || quietly uv venv --clear --python "${python:-3.11}" .venv
  quietly uv pip sync --python .venv/bin/python --require-hashes requirements.lock
  quietly uv pip install --python .venv/bin/python --no-deps --editable .
  exit
fi

if [ -z "$python" ]; then
  say "Python 3.11 or newer is needed, and this is $(python3 --version 2>/dev/null || echo 'a machine without Python'). Install it (or uv) and try again."
  exit 1
fi
if ! whole "$python"; then
  say "$python lacks its venv module. Install it with: sudo apt-get install python3-venv"
  exit 1
fi
# One that uv made has no pip.
{ fits .venv/bin/python && .venv/bin/python -m pip --version >/dev/null 2>&1; } || { rm -rf .venv; "$python" -m venv .venv; }
pip=(.venv/bin/python -m pip --disable-pip-version-check --no-input)
quietly "${pip[@]}" install --require-hashes -r requirements.lock
quietly "${pip[@]}" install --no-deps --editable .
