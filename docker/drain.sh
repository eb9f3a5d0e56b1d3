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

ray drain-node --reason DRAIN_NODE_REASON_PREEMPTION --reason-message "node is being stopped" \
  --deadline-remaining-seconds "$seconds" || echo "drain.sh: Ray was not told" >&2
pids=$(ours)
for pid in $pids; do
  kill -TERM "$pid" 2>/dev/null || true
done
for pid in $pids; do
  while is_ours "$pid"; do
    if [ "$(date +%s)" -ge "$deadline" ]; then
      echo "drain.sh: process $pid still works after $seconds s" >&2
      exit 0
    fi
    sleep 0.5
  done
done
