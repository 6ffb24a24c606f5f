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
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch
from diffusers import CogView4Transformer2DModel

ROOT = Path(__file__).resolve().parents[2]
BINARY = ROOT / "target" / "release" / "examples" / "bench_transformer"


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser()
    for name, default in (("num_layers", 2), ("height", 512), ("width", 512), ("text_tokens", 64), ("batch", 1), ("repeats", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--mode", choices=("forward", "train"), default="forward")
    parser.add_argument("--gradient_checkpointing", action="store_true")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--device", default="flex")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--reference", action="store_true", help="one run of diffusers, for its own process")
    return parser


def reference(args: argparse.Namespace) -> dict:
    torch.manual_seed(0)
    dtype = getattr(torch, args.dtype)
    sizes = dict(num_attention_heads=32, attention_head_dim=128, num_layers=args.num_layers)
    model = CogView4Transformer2DModel(in_channels=32, out_channels=16, **sizes).to(dtype)
    if args.gradient_checkpointing:
        model.enable_gradient_checkpointing()
    model.train(args.mode == "train")
    inputs = torch.randn(args.batch, 32, args.height // 8, args.width // 8, dtype=dtype)
    text = torch.randn(args.batch, args.text_tokens, model.config.text_embed_dim, dtype=dtype)
    target = torch.randn(args.batch, 16, args.height // 8, args.width // 8)
    size = torch.tensor([[args.height, args.width]] * args.batch, dtype=dtype)
    call = dict(timestep=torch.full((args.batch,), 500.0), original_size=size, target_size=size,
                crop_coords=torch.zeros_like(size), return_dict=False)  # fmt: skip

    def run():
        if args.mode == "forward":
            with torch.no_grad():
                return model(inputs, text, **call)[0]
        model.zero_grad(set_to_none=True)
        ((model(inputs, text, **call)[0].float() - target) ** 2).mean().backward()

    run()
    times = []
    for _ in range(args.repeats):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"median_s": sorted(times)[args.repeats // 2], "peak_rss_bytes": peak}


def ours(args: argparse.Namespace) -> dict:
    command = [BINARY, "--device", args.device, "--dtype", args.dtype, "--mode", args.mode]
    for name in ("num_layers", "height", "width", "text_tokens", "batch", "repeats"):
        command += [f"--{name}", getattr(args, name)]
    command += ["--gradient_checkpointing"] * args.gradient_checkpointing
    libraries = {"LD_LIBRARY_PATH": str(Path(torch.__file__).parent / "lib")}
    process = subprocess.run(list(map(str, command)), check=True, capture_output=True, env={**os.environ, **libraries})
    return json.loads(process.stdout.splitlines()[-1])


def main() -> None:
    args = arguments().parse_args()
    if args.reference:
        print(json.dumps(reference(args)))
        return
    pairs = []
    for _ in range(args.pairs):
        first = ours(args)
        process = subprocess.run([sys.executable, *sys.argv, "--reference"], check=True, capture_output=True)
        pairs.append((first, json.loads(process.stdout.splitlines()[-1])))
    for key, unit in (("median_s", 1), ("peak_rss_bytes", 2**30)):
        for label, values in (
            ("ours", [a[key] / unit for a, _ in pairs]),
            ("diffusers", [b[key] / unit for _, b in pairs]),
            ("ratio", [a[key] / b[key] for a, b in pairs]),
        ):
            print(f"{key:<15} {label:<10} min {min(values):.3f}  median {statistics.median(values):.3f}  max {max(values):.3f}")


if __name__ == "__main__":
    main()
