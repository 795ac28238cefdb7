#!/bin/bash
# base-image.sh [IMAGE] : makes sure that the image of the Dockerfile's FROM line exists. Present: nothing to do. Else it is
# pulled; where no registry can be reached, a stand-in is made from Debian's own packages (labelled stand-in=true): its
# Python is Debian's 3.11 in /usr/bin instead of upstream's in /usr/local, which an ordinary Dockerfile does not notice.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

IMAGE=${1:-$(sed -n 's/^ARG BASE=//p' "$here/../Dockerfile")}
BUNDLE=/etc/ssl/certs/ca-certificates.crt # what this machine trusts, a build on it trusts
LOG=$(mktemp)
trap 'rm -f "$LOG"' EXIT
say() { echo "base-image: $*" >&2; }

command -v docker >/dev/null || { say "the docker client is missing: install docker.io (Debian) or docker-ce-cli and try again."; exit 1; }
docker image inspect "$IMAGE" >/dev/null 2>&1 && exit 0
timeout "${PULL_TIMEOUT:-60}" docker pull -q "$IMAGE" >/dev/null 2>&1 && exit 0

say "$IMAGE cannot be pulled; making a stand-in from Debian's packages"
command -v mmdebstrap >/dev/null || "$here/apt.sh" mmdebstrap
if [ "$(df --output=avail -k /dev/shm 2>/dev/null | tail -n 1)" -gt 2000000 ] 2>/dev/null; then export TMPDIR=/dev/shm; fi

# shellcheck disable=SC2016 # "$1" is for mmdebstrap's shell
bootstrap() {
  mmdebstrap --quiet --variant=minbase --include=python3,python3-pip,python3-venv,ca-certificates \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' \
    --customize-hook='rm -f "$1"/usr/lib/python3.*/EXTERNALLY-MANAGED' \
    --customize-hook='ln -sf /usr/bin/python3 "$1"/usr/local/bin/python' \
    --customize-hook="cp $BUNDLE \"\$1\"$BUNDLE" \
    bookworm - 2>"$LOG"
}
as_image() {
  docker import -c 'ENV PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin' -c 'ENV LANG=C.UTF-8' \
    -c 'LABEL stand-in=true' -c 'CMD ["python3"]' - "$IMAGE" >/dev/null
}
if ! bootstrap | as_image; then
  docker image rm "$IMAGE" >/dev/null 2>&1 || true # half an image must not pass for a whole one
  say "the stand-in could not be made; the last words of mmdebstrap:"
  tail -n 10 "$LOG" >&2
  exit 1
fi
