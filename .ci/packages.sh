#!/bin/bash
# Makes sure that the programs which the tests call are there: installs what is missing (as root), else names it.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

missing=()
need() { command -v "$1" >/dev/null || missing+=("$2"); } # COMMAND PACKAGE
static() { command -v "$1" >/dev/null && ! ldd "$(command -v "$1")" >/dev/null 2>&1; }

PATH=$PATH:/usr/sbin:/sbin
static busybox || missing+=(busybox-static) # the test images are this one program: it must need no library
need bwrap bubblewrap
need chromium chromium
need curl curl
need gcc gcc
[ -e /usr/include/stdio.h ] || missing+=(libc6-dev)
docker compose version >/dev/null 2>&1 || need docker-compose docker-compose
need docker-registry docker-registry
need ip iproute2
need iptables iptables
need ps procps
need systemd-analyze systemd

"$here/apt.sh" "${missing[@]}"
