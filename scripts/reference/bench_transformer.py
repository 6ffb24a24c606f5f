"""Times the transformer at the released model's sizes, here and in diffusers, in turn, each run in a process of its own.

    cargo build --release --features libtorch --example bench_transformer
    python scripts/reference/bench_transformer.py --pairs 5 --device libtorch --dtype bfloat16 --mode train \
        --gradient_checkpointing

Random weights, 32 input channels; `train` is loss and backward to all parameters, without an optimiser. The bench is
started with libtorch's folder in LD_LIBRARY_PATH, so that the PyTorch of this interpreter serves.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[2]
BINARY = ROOT / "target" / "release" / "examples" / "bench_transformer"
PEER = ROOT / "scripts" / "gpu" / "peer.py"


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser()
    for name, default in (("num_layers", 2), ("height", 512), ("width", 512), ("text_tokens", 64), ("batch", 1), ("repeats", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--mode", choices=("forward", "train"), default="forward")
    parser.add_argument("--gradient_checkpointing", action="store_true")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--device", default="flex")
    parser.add_argument("--pairs", type=int, default=5)
    return parser


def ours(args: argparse.Namespace) -> dict:
    libraries = {"LD_LIBRARY_PATH": str(Path(torch.__file__).parent / "lib")}
    return measured(args, [BINARY, "--device", args.device], env={**os.environ, **libraries})


def diffusers(args: argparse.Namespace) -> dict:
    return measured(args, [sys.executable, PEER, "--device", "cpu"])


def measured(args: argparse.Namespace, command: list, **more) -> dict:
    """What a program prints last that takes these sizes."""
    for name in ("num_layers", "height", "width", "text_tokens", "batch", "repeats", "dtype", "mode"):
        command += [f"--{name}", getattr(args, name)]
    command += ["--gradient_checkpointing"] * args.gradient_checkpointing
    process = subprocess.run(list(map(str, command)), check=True, capture_output=True, **more)
    return json.loads(process.stdout.splitlines()[-1])


def main() -> None:
    args = arguments().parse_args()
    pairs = [(ours(args), diffusers(args)) for _ in range(args.pairs)]
    for key, unit in (("median_s", 1), ("peak_rss_bytes", 2**30)):
        for label, values in (
            ("ours", [a[key] / unit for a, _ in pairs]),
            ("diffusers", [b[key] / unit for _, b in pairs]),
            ("ratio", [a[key] / b[key] for a, b in pairs]),
        ):
            print(f"{key:<15} {label:<10} min {min(values):.3f}  median {statistics.median(values):.3f}  max {max(values):.3f}")


if __name__ == "__main__":
    main()
