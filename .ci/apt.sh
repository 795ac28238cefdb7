#!/bin/bash
# apt.sh PACKAGE... : installs Debian packages. What apt-get says goes to a log; its end is shown if it failed twice.
set -euo pipefail

LOG=${APT_LOG:-${TMPDIR:-/tmp}/jobfetcher-apt.log}
say() { echo "apt: $*" >&2; }

[ $# -gt 0 ] || exit 0
command -v apt-get >/dev/null || { say "this is no Debian or Ubuntu: install what stands for $* by hand and try again."; exit 1; }
[ "$(id -u)" = 0 ] || { say "missing: $*. Install with: sudo apt-get install --no-install-recommends $*"; exit 1; }

export DEBIAN_FRONTEND=noninteractive
options=(-q -y -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3)
install() {
  { apt-get "${options[@]}" update && apt-get "${options[@]}" install --no-install-recommends "$@"; } </dev/null >>"$LOG" 2>&1
}

say "installing $*"
install "$@" && exit 0
sleep 10 # another apt-get may hold the lists, or the mirror was away for a moment
install "$@" && exit 0
say "apt-get failed twice; the end of $LOG:"
tail -n 15 "$LOG" >&2
exit 1
