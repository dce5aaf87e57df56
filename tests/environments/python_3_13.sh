#!/usr/bin/env bash
# The quick tests on Python 3.13, which Debian 13 has.
#
#     tests/environments/python_3_13.sh FOLDER
#
# Takes 10 GB and some minutes; see debian_13.sh.
set -euo pipefail
exec "$(dirname "$0")/debian_13.sh" "$1" "" '
  /venv/bin/python -m pip install --quiet -e packages/focusvla-client -e ".[libero,mini,hdf5,rlds]" \
    pytest pytest-xdist hypothesis tensorboard
  /venv/bin/python -m pytest --numprocesses logical --maxprocesses 4 --dist loadfile -W default \
    -m "not simulator and not slow and not long and not lerobot and not vla_eval"'
