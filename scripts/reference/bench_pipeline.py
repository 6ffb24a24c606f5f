"""Times whole programs, from start to picture: sft_infer and the same in Python with diffusers, in turn.

    cargo build --release --features libtorch --example sft_infer
    python scripts/reference/bench_pipeline.py --pairs 5 --cases demo wide whole

`demo` is the embedded pipeline with its defaults; `wide` has two blocks of the released size, a small VAE with 8x down-sampling and
random weights in bfloat16, and draws 512x512 pixels in ten steps; `whole` is the same with the released model's VAE. Both programs
are started with libtorch's folder in LD_LIBRARY_PATH, so that the same libtorch serves.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

import tiny
from pairs import ENVIRONMENT, RELEASE, ROOT, table

BINARY = RELEASE / "examples" / "sft_infer"
DRAWING = ROOT / "assets" / "demo" / "drawings" / "fox.png"
PROMPT = "a orange fox face, animals & nature, on a white background"
WIDE = dict(side=512, steps=10, dtype="bfloat16")
CASES = {"demo": dict(side=64, steps=50, dtype="float32"), "wide": WIDE, "whole": WIDE}
AUTOENCODERS = {
    "wide": dict(levels=(32, 64, 128, 128)),
    "whole": dict(levels=(128, 512, 1024, 1024), vae_layers=3, vae_groups=32),
}


def random(case: str, folder: Path) -> None:
    sizes = dict(heads=32, head_dim=128, time_embed_dim=512, condition_dim=256, sample_size=64, text_width=4096, text_heads=32)
    tiny.save(tiny.build(tiny.Tiny(**sizes, **AUTOENCODERS[case])).to(torch.bfloat16), folder)


def reference(folder: str, case: dict) -> None:
    from diffusers import CogView4ControlPipeline
    from PIL import Image

    pipe = CogView4ControlPipeline.from_pretrained(folder, torch_dtype=getattr(torch, case["dtype"]))
    pipe.set_progress_bar_config(disable=True)
    control = Image.open(DRAWING).convert("RGB")
    size = {"height": case["side"], "width": case["side"], "num_inference_steps": case["steps"]}
    generator = torch.Generator("cpu").manual_seed(0)
    picture = pipe(PROMPT, control_image=control, guidance_scale=3.5, generator=generator, **size).images[0]
    picture.save(Path(tempfile.gettempdir()) / "reference.png")


def ours(folder: Path, case: dict, device: str) -> list[str]:
    flags = dict(pretrained_model_name_or_path=folder, control_image=DRAWING, processor="none", prompt=PROMPT, device=device,
                 height=case["side"], width=case["side"], num_inference_steps=case["steps"], dtype=case["dtype"],
                 output=Path(tempfile.gettempdir()) / "ours.png")  # fmt: skip
    return [str(BINARY), *(part for name, value in flags.items() for part in (f"--{name}", str(value)))]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--device", default="libtorch")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--reference", nargs=2, metavar=("CASE", "FOLDER"), help="one run of diffusers, for its own process")
    args = parser.parse_args()
    if args.reference:
        case, folder = args.reference
        reference(folder, CASES[case])
        return

    def seconds(command: list[str]) -> float:
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True, env=ENVIRONMENT)
        return time.perf_counter() - start

    for name in args.cases:
        with tempfile.TemporaryDirectory() as folder:
            case, pipeline = CASES[name], ROOT / "assets" / "demo"
            if name in AUTOENCODERS:
                pipeline = Path(folder)
                random(name, pipeline)
            pairs = []
            for _ in range(args.pairs):
                first = seconds(ours(pipeline, case, args.device))
                pairs.append((first, seconds([sys.executable, *sys.argv, "--reference", name, str(pipeline)])))
            table(name, pairs)


if __name__ == "__main__":
    main()
