"""Times sampling with a small pipeline here and in diffusers, in turn, and prints the ratio of each pair.

    cargo build --release --example bench_sampling
    python scripts/reference/bench_sampling.py --pairs 7

Loading is not timed; each timed run follows an untimed one of the same work.
"""

import argparse
import time

import torch
from diffusers import CogView4ControlPipeline
from PIL import Image

from pairs import RELEASE, ROOT, last_json, table

PIPELINE = ROOT / "tests" / "fixtures" / "untrained"
BINARY = RELEASE / "examples" / "bench_sampling"
PROMPT = "a orange fox face, animals & nature, on a white background"
SIDE = 256


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
        command = [BINARY, "--pretrained_model_name_or_path", PIPELINE, "--repeats", 1]
        return last_json([*command, "--num_inference_steps", args.num_inference_steps])["median_s"]

    pairs = []
    for _ in range(args.pairs):
        first = ours()
        reference()
        pairs.append((first, reference()))
    table("s", pairs)


if __name__ == "__main__":
    main()
