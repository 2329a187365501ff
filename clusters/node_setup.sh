#!/usr/bin/env bash
# Sets up a node; `node_setup.sh 3.12` makes a virtual environment of that Python with the locked packages and this
# package, which every shell finds. Cluster files call it in `setup_commands`; called again, it does what is left to do.
set -euo pipefail
wanted=${1:?the version of Python that every node has, such as 3.12}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=$HOME/.batch-orchestrator/venv

if ! command -v "python$wanted" >/dev/null; then
  found=$(python3 --version 2>/dev/null || echo "no python3")
  echo "error: $(hostname): found $found; expected python$wanted, which every node of this cluster must have." \
    "Install it there, take another image, or change the version in setup_commands" >&2
  exit 1
fi
if [ "$("$venv/bin/python" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)" != "$wanted" ]; then
  "python$wanted" -m venv --clear "$venv"
fi
lock=requirements-cluster.lock
if compgen -G "/dev/nvidia[0-9]*" >/dev/null; then # the same versions, and CUDA's libraries
  lock=requirements-gpu.lock
fi
"$venv/bin/pip" install -q --disable-pip-version-check --require-hashes -r "$here/$lock"
"$venv/bin/pip" install -q --disable-pip-version-check --no-deps --no-build-isolation --force-reinstall "$here"

chmod 600 ~/.ray/auth_token
line=". $here/clusters/environment.sh"
grep -qxF "$line" ~/.bashrc || echo "$line" >>~/.bashrc
