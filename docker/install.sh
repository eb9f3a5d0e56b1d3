#!/bin/sh
# The image's installation: a virtual environment with xytok and the pinned set. Runs anywhere,
# so that a test can run it in a scratch folder: install.sh SOURCE VENV
#   TORCH_INDEX  index to take torch from instead of pip's own; pytorch.org names one for CPU builds
set -eu
source=$1
venv=$2

"${PYTHON:-python3}" -m venv "$venv"
pip="$venv/bin/pip --disable-pip-version-check install --quiet --no-cache-dir"
if [ -n "${TORCH_INDEX:-}" ]; then
  $pip --index-url "$TORCH_INDEX" "$(grep '^torch==' "$source/constraints.txt")"
fi
$pip -c "$source/constraints.txt" "$source[audit,gs,codecs]"
"$venv/bin/xytok" --version
