#!/usr/bin/env bash
# The tests of the `lerobot` library with LeRobot 0.6.1, which wants Python 3.12 or later.
#
#     tests/environments/lerobot_0_6.sh FOLDER [TESTS...]
#
# Takes 9 GB and some minutes; see debian_13.sh. Of dm_control, labmaze is left out, which the tests do not need: it has no
# wheel for this Python.
set -euo pipefail
folder=$1
shift
tests=("${@:-tests/integration tests/data/test_episode_source.py}")
exec "$(dirname "$0")/debian_13.sh" "$folder" "libegl1 libgl1 libgl1-mesa-dri libegl-mesa0 libglib2.0-0t64" "
  grep -E '^(bddl|dm_control|gym-aloha|mujoco|robosuite)==' constraints.txt > /tmp/simulators.txt
  pip='/venv/bin/python -m pip install --quiet --no-cache-dir --constraint /tmp/simulators.txt'
  \$pip 'lerobot[training,transformers-dep]==0.6.1' -e packages/focusvla-client -e '.[libero,mini]' \
    -e packages/lerobot_policy_focusvla -e packages/lerobot_env_focusvla dm-env dm-tree glfw lxml pytest
  \$pip --no-deps dm_control gym-aloha
  OMP_NUM_THREADS=1 /venv/bin/python -m pytest -p no:cacheprovider -m lerobot ${tests[*]}"
