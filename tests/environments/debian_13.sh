#!/usr/bin/env bash
# A command in a Debian 13, which has Python 3.13, with this repository under /work: in a folder that debootstrap makes of
# it. As root, on any Debian. What FOLDER holds already is used again; MIRROR names another mirror of Debian's.
#
#     tests/environments/debian_13.sh FOLDER "DEBIAN PACKAGES" "COMMAND OF BASH"
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
for package in $2; do
  chroot "$folder" dpkg-query --show "$package" > /dev/null 2>&1 || missing="${missing:-} $package"
done
if [ -n "${missing:-}" ]; then
  chroot "$folder" apt-get update --quiet --quiet
  chroot "$folder" env DEBIAN_FRONTEND=noninteractive apt-get install --quiet --quiet --yes --no-install-recommends $missing
fi
tar --create --directory "$root" --exclude ./.venv --exclude './.venv-*' --exclude ./runs . | tar --extract --directory "$folder/work"
chroot "$folder" /usr/bin/env --chdir /work bash -euo pipefail -c '[ -x /venv/bin/python ] || python3.13 -m venv /venv'
chroot "$folder" /usr/bin/env --chdir /work bash -euo pipefail -c "$3"
