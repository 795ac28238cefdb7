#!/bin/bash
# Makes sure that a Docker engine answers. Changes nothing if one does; else, as root on Linux, has systemd start it, or
# installs Debian's docker.io if need be and starts dockerd by hand, detached. What an engine that was killed left behind
# (pid files whose numbers now belong to others, mounts, shims) is cleared away first.
#
#   DOCKER_HOST        where the engine is to answer      (unix:///var/run/docker.sock)
#   DOCKERD_DIR        log and pid of one started by hand (/tmp/dockerd); stop it with: kill "$(cat "$DOCKERD_DIR/pid")"
#   DOCKERD_EXEC_ROOT  dockerd's --exec-root              (/var/run/docker)
#   DOCKERD_DATA_ROOT  dockerd's --data-root              (/var/lib/docker)
#   DOCKERD_FLAGS      more flags for dockerd
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

HOST=${DOCKER_HOST:-unix:///var/run/docker.sock}
DIR=${DOCKERD_DIR:-/tmp/dockerd}
EXEC_ROOT=${DOCKERD_EXEC_ROOT:-/var/run/docker}
DATA_ROOT=${DOCKERD_DATA_ROOT:-/var/lib/docker}
SOCKET=${HOST#unix://}
CONTAINERD=$EXEC_ROOT/containerd
PATH=$PATH:/usr/sbin:/sbin

say() { echo "engine: $*" >&2; }
fail() { say "$@"; exit 1; }

answers() {
  case $HOST in
  unix://*) if command -v curl >/dev/null; then curl -sf -m 5 --unix-socket "$SOCKET" http://engine/_ping; else docker version; fi ;;
  *) docker version ;;
  esac >/dev/null 2>&1
}

# is PID NAME WORD : the process runs, is no zombie, is called NAME, and WORD is in its command line.
is() {
  [[ ${1:-} =~ ^[0-9]+$ ]] && [ "$(cat "/proc/$1/comm" 2>/dev/null)" = "$2" ] || return 1
  [ "$(awk '/^State/ {print $2}' "/proc/$1/status" 2>/dev/null)" != Z ] || return 1
  tr '\0' ' ' <"/proc/$1/cmdline" 2>/dev/null | grep -qF -- "$3"
}

drop_stale_pidfile() { # FILE NAME WORD
  [ ! -e "$1" ] || is "$(cat "$1")" "$2" "$3" || rm -f "$1"
}

living_dockerd() { # pid of a dockerd for this socket or this exec root, if one runs
  local pid
  for pid in $(pgrep -x dockerd 2>/dev/null || true); do
    if is "$pid" dockerd "$HOST" || is "$pid" dockerd "$EXEC_ROOT"; then echo "$pid"; return; fi
  done
}

wait_for_answer() { # SECONDS [PID]: also gives up when the process PID has ended
  local end=$((SECONDS + $1))
  while [ $SECONDS -lt $end ]; do
    answers && return
    [ -z "${2:-}" ] || is "$2" dockerd "" || return 1
    sleep .2
  done
  return 1
}

launch() { # runs in its own session: it outlives this script, and no signal meant for a terminal reaches it
  # shellcheck disable=SC2086 # the flags are words
  setsid dockerd --pidfile "$DIR/pid" --exec-root "$EXEC_ROOT" --data-root "$DATA_ROOT" -H "$HOST" ${DOCKERD_FLAGS:-} \
    >>"$DIR/log" 2>&1 </dev/null 9>&- &
  wait_for_answer 60 $!
}

use_legacy_iptables() {
  grep -qE "iptables.*not found|Failed to initialize nft|TABLE_ADD failed|can't initialize iptables" "$DIR/log" || return 0
  [ -x /usr/sbin/iptables-legacy ] || return 0
  say "the kernel refuses nft, taking iptables-legacy"
  update-alternatives --set iptables /usr/sbin/iptables-legacy >/dev/null
}

clear_leftovers() { # of an engine that is dead: its shims, mounts and sockets confuse the next one
  local pid mount
  for pid in $(pgrep -f "^[^ ]*containerd-shim.* -address $CONTAINERD/containerd.sock" 2>/dev/null || true); do
    pkill -9 -P "$pid" || true
    kill -9 "$pid" 2>/dev/null || true
  done
  pid=$(cat "$CONTAINERD/containerd.pid" 2>/dev/null || true)
  ! is "$pid" containerd "$CONTAINERD" || kill -9 "$pid" 2>/dev/null || true
  awk -v below="$(realpath -m "$EXEC_ROOT")/" 'index($5, below) == 1 {print $5}' /proc/self/mountinfo | sort -r |
    while read -r mount; do umount -l "$mount" 2>/dev/null || true; done
  rm -rf --one-file-system "$EXEC_ROOT" || true
}

answers && exit 0
if [[ $HOST == unix://* ]] && [ -S "$SOCKET" ] && [ ! -w "$SOCKET" ]; then
  fail "you may not use $SOCKET: join the group docker (sudo usermod -aG docker $(id -un 2>/dev/null || id -u), then log in again) or use sudo."
fi
[ "$(uname -s)" = Linux ] || fail "no Docker engine answers: start Docker Desktop (or colima) and try again."
[ "$(id -u)" = 0 ] || fail "no Docker engine answers at $HOST, and starting one takes root: install and start Docker Engine, or use sudo."
[[ $HOST == unix://* ]] || fail "no Docker engine answers at $HOST, and one can be started only on this machine."

if ! command -v dockerd >/dev/null; then
  # of what docker.io only recommends it needs these; the rest is 40 MB more
  "$here/apt.sh" docker.io iptables cgroupfs-mount ca-certificates curl procps
fi
if [ -d /run/systemd/system ] && systemctl start docker && wait_for_answer 60; then
  say "started by systemd"
  exit 0
fi

mkdir -p "$DIR"
exec 9>"$DIR/lock"
flock -w 180 9 || fail "another start of the engine has been going on for three minutes: see $DIR/log."
! answers || exit 0
mountpoint -q /sys/fs/cgroup || cgroupfs-mount

pid=$(living_dockerd)
if [ -n "$pid" ]; then
  wait_for_answer 60 || fail "dockerd runs (pid $pid) but does not answer at $HOST: stop it and try again."
  exit 0
fi
drop_stale_pidfile "$DIR/pid" dockerd "$HOST"
drop_stale_pidfile /var/run/docker.pid dockerd ""
drop_stale_pidfile "$CONTAINERD/containerd.pid" containerd "$CONTAINERD"
if ! launch; then
  say "dockerd did not come up, trying once more after clearing what an earlier one left"
  stuck=$(living_dockerd)
  [ -z "$stuck" ] || kill -9 "$stuck"
  use_legacy_iptables
  clear_leftovers
  rm -f "$DIR/pid"
  launch || { say "dockerd did not come up; the end of $DIR/log:"; tail -n 8 "$DIR/log" >&2; exit 1; }
fi
say "started dockerd (pid $(cat "$DIR/pid"), log $DIR/log)"
