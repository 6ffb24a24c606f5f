#!/bin/bash
# One part of a first run on a GPU: `bash run.sh survey|parity|speed|cube|train|rows [--device D] [--out FOLDER]`.
# Everything else is in kit.py; PYTHON names an interpreter that has PyTorch.
script="${BASH_SOURCE[0]}"
[[ "$script" == */* ]] || script="./$script"
exec "${PYTHON:-python3}" "${script%/*}/kit.py" "$@"
