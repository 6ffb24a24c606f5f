"""Times sampling with a small pipeline here and in diffusers, in turn, and prints the ratio of each pair.

    cargo build --release --example bench_sampling
    python scripts/reference/bench_sampling.py --pairs 7

Loading is not timed; each timed run follows an untimed one of the same work.
"""

import argparse
import json
import statistics
import subprocess
import time
from pathlib import Path

import torch
from diffusers import CogView4ControlPipeline
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
PIPELINE = ROOT / "tests" / "fixtures" / "untrained"
BINARY = ROOT / "target" / "release" / "examples" / "bench_sampling"
PROMPT = "a orange fox face, animals & nature, on a white background"
SIDE = 256


def row(name: str, values: list[float]) -> None:
    print(f"{name:<16} min {min(values):.3f}  median {statistics.median(values):.3f}  max {max(values):.3f}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--num_inference_steps", type=int, default=50)
    args = parser.parse_args()
    pipe = CogView4ControlPipeline.from_pretrained(PIPELINE, torch_dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    control = Image.open(ROOT / "assets" / "demo" / "drawings" / "fox.png")

    def reference() -> float:
        generator = torch.Generator("cpu").manual_seed(0)
        start = time.perf_counter()
        steps = args.num_inference_steps
        size = {"height": SIDE, "width": SIDE}
        pipe(PROMPT, control_image=control, num_inference_steps=steps, guidance_scale=3.5, generator=generator, **size)
        return time.perf_counter() - start

    def ours() -> float:
        command = [BINARY, "--pretrained_model_name_or_path", PIPELINE, "--repeats", "1", "--num_inference_steps", str(args.num_inference_steps)]
        return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)["median_s"]

    pairs = []
    for _ in range(args.pairs):
        first = ours()
        reference()
        pairs.append((first, reference()))
    row("ours, s", [a for a, _ in pairs])
    row("diffusers, s", [b for _, b in pairs])
    row("ours / diffusers", [a / b for a, b in pairs])


if __name__ == "__main__":
    main()
