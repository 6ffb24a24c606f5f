"""What the benchmarks share: programs that measure, run in turn with a peer, and the table of both."""

import json
import os
import statistics
import subprocess
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[2]
RELEASE = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
# For programs that link libtorch: the PyTorch of this interpreter serves.
ENVIRONMENT = {**os.environ, "LD_LIBRARY_PATH": str(Path(torch.__file__).parent / "lib")}


def last_json(command: list) -> dict:
    """The JSON object that a program prints last."""
    process = subprocess.run(list(map(str, command)), check=True, capture_output=True, env=ENVIRONMENT)
    return json.loads(process.stdout.splitlines()[-1])


def row(name: str, values: list[float]) -> None:
    print(f"{name:<26} min {min(values):.3f}  median {statistics.median(values):.3f}  max {max(values):.3f}")


def table(name: str, pairs: list[tuple[float, float]], peer: str = "diffusers") -> None:
    """Ours, a peer's, and the ratio of each pair."""
    row(f"{name} ours", [ours for ours, _ in pairs])
    row(f"{name} {peer}", [theirs for _, theirs in pairs])
    row(f"{name} ratio", [ours / theirs for ours, theirs in pairs])
