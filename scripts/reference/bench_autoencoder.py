"""Times the released autoencoder's shape, here and in diffusers, in turn, each run in a process of its own.

    cargo build --release --example bench_autoencoder
    python scripts/reference/bench_autoencoder.py --pairs 3 --side 512

Random weights.
"""

import argparse
import json
import resource
import sys
import time

import torch

from pairs import RELEASE, last_json, table


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--device", default="flex")
    parser.add_argument("--dtype", default="float32", help="ours; diffusers computes in float32")
    parser.add_argument("--peer", action="store_true", help="measure diffusers, and print a JSON object")
    return parser.parse_args()


def peer(side: int) -> dict:
    from diffusers import AutoencoderKL

    torch.manual_seed(0)
    shape = dict(latent_channels=16, block_out_channels=(128, 512, 1024, 1024), layers_per_block=3, norm_num_groups=32)
    for way in ("down", "up"):
        kind = "DownEncoderBlock2D" if way == "down" else "UpDecoderBlock2D"
        shape[f"{way}_block_types"] = (kind,) * 4
    vae = AutoencoderKL(**shape, use_quant_conv=False, use_post_quant_conv=False).eval()
    found = {}
    with torch.no_grad():
        for size in (side // 4, side):
            for name, work, input in (
                ("encode_s", lambda x: vae.encode(x).latent_dist.mode(), torch.randn(1, 3, size, size)),
                ("decode_s", lambda x: vae.decode(x).sample, torch.randn(1, 16, size // 8, size // 8)),
            ):
                start = time.perf_counter()
                work(input)
                found[name] = time.perf_counter() - start
    return {**found, "peak_rss_bytes": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}


def measured(command: list) -> dict:
    found = last_json(command)
    return {**found, "both_s": found["encode_s"] + found["decode_s"]}


def main() -> None:
    args = arguments()
    if args.peer:
        print(json.dumps(peer(args.side)))
        return
    ours = [RELEASE / "examples" / "bench_autoencoder", "--side", args.side, "--device", args.device, "--dtype", args.dtype]
    theirs = [sys.executable, __file__, "--peer", "--side", args.side]
    pairs = [(measured(ours), measured(theirs)) for _ in range(args.pairs)]
    for key, unit in (("encode_s", 1), ("decode_s", 1), ("both_s", 1), ("peak_rss_bytes", 2**30)):
        table(key, [(a[key] / unit, b[key] / unit) for a, b in pairs])


if __name__ == "__main__":
    main()
