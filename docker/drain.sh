#!/bin/sh
# Before a worker node stops (preStop hook, spot notice): tells Ray to give it nothing new and how
# long it will live. What it held goes to other workers at no blame. drain.sh [SECONDS]
set -eu
exec ray drain-node --reason DRAIN_NODE_REASON_PREEMPTION \
  --reason-message "node is being stopped" --deadline-remaining-seconds "${1:-60}"
