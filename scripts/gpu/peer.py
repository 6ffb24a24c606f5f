"""diffusers' control transformer beside bench_transformer, on the device that it ran on: forward, or loss and backward.

The last line printed is a JSON object with the keys of bench_transformer's.
"""

import argparse
import json
import resource
import time

import torch
from diffusers import CogView4Transformer2DModel


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    sizes = (("num_layers", 28), ("height", 1024), ("width", 1024), ("text_tokens", 64), ("batch", 1), ("repeats", 5))
    for name, default in sizes:
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--mode", choices=("forward", "train"), default="forward")
    parser.add_argument("--gradient_checkpointing", action="store_true")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="bfloat16")
    parser.add_argument("--compile", action="store_true")
    return parser.parse_args()


def main() -> None:
    args = arguments()
    torch.manual_seed(0)
    dtype = getattr(torch, args.dtype)
    with torch.device(args.device):
        sizes = dict(num_attention_heads=32, attention_head_dim=128, num_layers=args.num_layers)
        model = CogView4Transformer2DModel(in_channels=32, out_channels=16, **sizes).to(dtype)
        latents = torch.randn(args.batch, 32, args.height // 8, args.width // 8, dtype=dtype)
        text = torch.randn(args.batch, args.text_tokens, model.config.text_embed_dim, dtype=dtype)
        target = torch.randn(args.batch, 16, args.height // 8, args.width // 8)
        size = torch.tensor([[args.height, args.width]] * args.batch, dtype=dtype)
        timestep = torch.full((args.batch,), 500.0)
    call = dict(timestep=timestep, original_size=size, target_size=size, crop_coords=torch.zeros_like(size), return_dict=False)
    if args.gradient_checkpointing:
        model.enable_gradient_checkpointing()
    model.train(args.mode == "train")
    forward = torch.compile(model) if args.compile else model

    def run() -> None:
        if args.mode == "forward":
            with torch.no_grad():
                forward(latents, text, **call)
        else:
            model.zero_grad(set_to_none=True)
            ((forward(latents, text, **call)[0].float() - target) ** 2).mean().backward()
        if args.device == "cuda":
            torch.cuda.synchronize()

    run()
    times = []
    for _ in range(args.repeats):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    times.sort()
    found = {"median_s": times[len(times) // 2], "min_s": times[0], "max_s": times[-1], "mode": args.mode}
    found["peak_rss_bytes"] = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if args.device == "cuda":
        found["peak_allocated_mib"] = torch.cuda.max_memory_allocated() // 2**20
    print(json.dumps(found))


if __name__ == "__main__":
    main()
