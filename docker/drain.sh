#!/bin/sh
# Before a node stops (preStop hook, spot notice): Ray gives it nothing new, the workers here finish the
# shards they hold, and so does a driver. Ends when they are gone, or after SECONDS. What was not finished
# goes to other workers at no blame. Of several Rays on a machine, it is about that of RAY_TMPDIR.
#   drain.sh [SECONDS]
set -eu
seconds=${1:-60}
deadline=$(($(date +%s) + seconds))

is_ours() { # PID
  # Ray names its workers so; a job's shell is left alone, because Ray waits for it.
  case $(cat "/proc/$1/comm" 2>/dev/null) in sh | bash | dash) return 1 ;; esac
  case $(cat "/proc/$1/cmdline" 2>/dev/null | tr '\0' ' ') in
    ray::RayWorker* | *" -m jobs tokenize "* | *"/xytok tokenize "*) ;;
    *) return 1 ;;
  esac
  folder=$(cat "/proc/$1/environ" 2>/dev/null | tr '\0' '\n' | sed -n 's/^RAY_TMPDIR=//p')
  [ "$folder" = "${RAY_TMPDIR:-}" ]
}

ours() {
  for folder_of_process in /proc/[0-9]*; do
    pid=${folder_of_process#/proc/}
    if is_ours "$pid"; then echo "$pid"; fi
  done
}

# Beside the rest, because it takes seconds to start and a notice may be short.
ray drain-node --reason DRAIN_NODE_REASON_PREEMPTION --reason-message "node is being stopped" \
  --deadline-remaining-seconds "$seconds" &
telling=$!
told=" "
while pids=$(ours) && [ -n "$pids" ]; do
  for pid in $pids; do
    # A worker may have been started here since.
    case $told in *" $pid "*) continue ;; esac
    told="$told$pid "
    kill -TERM "$pid" 2>/dev/null || true
  done
  if [ "$(date +%s)" -ge "$deadline" ]; then
    echo "drain.sh: still at work after $seconds s:" $pids >&2
    exit 0
  fi
  sleep 0.5
done
wait "$telling" || echo "drain.sh: Ray was not told" >&2
