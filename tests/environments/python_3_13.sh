#!/usr/bin/env bash
# The quick tests on Python 3.13, which Debian 13 has: in a folder that debootstrap makes of it. As root, on any Debian.
#
#     tests/environments/python_3_13.sh FOLDER
#
# Takes 10 GB and some minutes; what FOLDER holds already is used again. MIRROR names another mirror of Debian's.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
folder=$(realpath -m "$1")
if [ ! -x "$folder/usr/bin/python3.13" ]; then
  debootstrap --variant=minbase --include=python3-venv,ca-certificates,git,procps,curl trixie "$folder" ${MIRROR:+"$MIRROR"}
fi
# How packages are found is this machine's business.
for file in /etc/pip.conf /etc/resolv.conf /etc/ssl/certs/ca-certificates.crt; do
  [ ! -e "$file" ] || install -D "$file" "$folder$file"
done
mkdir -p "$folder/work" "$folder/dev/shm" "$folder/proc"
mounted=()
trap 'for each in "${mounted[@]}"; do umount --lazy "$each"; done' EXIT
for each in proc dev dev/shm dev/pts; do
  mount --bind "/$each" "$folder/$each"
  mounted=("$folder/$each" "${mounted[@]}")
done
tar --create --directory "$root" --exclude ./.venv --exclude './.venv-*' --exclude ./runs . | tar --extract --directory "$folder/work"
chroot "$folder" /usr/bin/env --chdir /work bash -euo pipefail -c '
  [ -x /venv/bin/python ] || python3.13 -m venv /venv
  /venv/bin/python -m pip install --quiet -e packages/focusvla-client -e ".[libero,mini,hdf5,rlds]" \
    pytest pytest-xdist hypothesis tensorboard
  /venv/bin/python -m pytest --numprocesses logical --maxprocesses 4 --dist loadfile -W default \
    -m "not simulator and not slow and not long and not lerobot and not vla_eval"'
