#!/bin/sh
# The entrypoint of rayjob.yaml: `xytok` with the arguments given. A RayJob knows only success and
# failure, and starts over after a failure. So exit code 3 (all done, but a shard is damaged) counts
# as success here; the log names the damaged shards. rayjob.sh tokenize INPUTS… OUTPUT OPTIONS…
set -eu
# When the job is stopped, this shell must outlive `xytok`, which first puts its shards away.
trap : TERM
code=0
xytok "$@" || code=$?
[ "$code" -ne 3 ] || code=0
exit "$code"
