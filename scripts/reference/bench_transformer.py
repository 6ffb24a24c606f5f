"""Times the transformer at the released model's sizes, here and in diffusers, in turn, each run in a process of its own.

    cargo build --release --features libtorch --example bench_transformer
    python scripts/reference/bench_transformer.py --pairs 5 --device libtorch --dtype bfloat16 --mode train \
        --gradient_checkpointing

Random weights, 32 input channels; `train` is loss and backward to all parameters, without an optimiser.
"""

import argparse
import sys

from pairs import RELEASE, ROOT, last_json, table

BINARY = RELEASE / "examples" / "bench_transformer"
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
    return measured(args, [BINARY, "--device", args.device])


def diffusers(args: argparse.Namespace) -> dict:
    return measured(args, [sys.executable, PEER, "--device", "cpu"])


def measured(args: argparse.Namespace, command: list) -> dict:
    """What a program prints last that takes these sizes."""
    for name in ("num_layers", "height", "width", "text_tokens", "batch", "repeats", "dtype", "mode"):
        command += [f"--{name}", getattr(args, name)]
    return last_json(command + ["--gradient_checkpointing"] * args.gradient_checkpointing)


def main() -> None:
    args = arguments().parse_args()
    pairs = [(ours(args), diffusers(args)) for _ in range(args.pairs)]
    for key, unit in (("median_s", 1), ("peak_rss_bytes", 2**30)):
        table(key, [(a[key] / unit, b[key] / unit) for a, b in pairs])


if __name__ == "__main__":
    main()
