#!/bin/sh
# The demo against a running Ray cluster and an S3 server: upload the speech, submit the run, wait,
# check, audit. Used by compose.yaml, and by a test against local processes.
#   OUT                      s3://bucket/folder for everything
#   SPEECH                   folder with Emilia/… and Emilia-YODAS/… shards
#   RAY_API_SERVER_ADDRESS   http://head:8265
#   AWS_ENDPOINT_URL and AWS_* credentials, the same here and on the workers
set -eu
: "${OUT:?}" "${SPEECH:?}" "${RAY_API_SERVER_ADDRESS:?}"

step() { printf '\n== %s\n' "$*"; }

step "upload the shards to $OUT/speech"
python3 - "$SPEECH" "$OUT" <<'PYTHON'
import pathlib
import sys
import time

import fsspec

speech, out = sys.argv[1:]
fs, folder = fsspec.url_to_fs(out)
bucket = folder.split("/")[0]
for attempt in range(60):  # an S3 server that just started may refuse at first
    try:
        if not fs.exists(bucket):
            fs.mkdir(bucket)
        break
    except OSError:
        time.sleep(1)
for shard in sorted(pathlib.Path(speech).rglob("*.tar")):
    fs.put_file(str(shard), f"{folder}/speech/{shard.relative_to(speech)}")
    print(shard.relative_to(speech))
PYTHON

step "check storage and codec"
xytok doctor "$OUT" --write --codec xy-nano

step "tokenize on the cluster"
xytok submit "$OUT/speech/*/*/*.tar" "$OUT/codes" --codec xy-nano --cluster "$RAY_API_SERVER_ADDRESS"

step "look at it"
xytok status "$OUT/codes"
xytok verify "$OUT/codes"
xytok audit "$OUT/codes" --per-shard 8 --metrics stoi --codes-only --quiet
step "done"
