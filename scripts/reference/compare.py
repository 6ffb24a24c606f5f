"""Runs diffusers and sft_infer on random small pipelines and prints how far apart they are.

    cargo build --release --example sft_infer
    python scripts/reference/compare.py --cases 12 --seed 1

Bounds: 1e-5 relative L2 of the final latents, 0.5 / 255 mean difference of the pictures.
"""

import argparse
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file

import tiny

ROOT = Path(__file__).resolve().parents[2]
BINARY = ROOT / "target" / "release" / "examples" / "sft_infer"


def draw_case(rng: random.Random):
    heads = rng.choice([2, 3, 4])
    text_heads = rng.choice([2, 4])
    levels = rng.choice([(16,), (8, 16), (16, 32), (8, 16, 24), (16, 16, 32, 32)])
    return tiny.Tiny(
        seed=rng.randrange(1000),
        latent_channels=rng.choice([4, 8, 16]),
        levels=levels,
        vae_layers=rng.choice([1, 2]),
        vae_groups=rng.choice([4, 8]),
        mid_attention=rng.random() < 0.5,
        quant_conv=rng.random() < 0.5,
        scaling_factor=rng.choice([1.0, 0.18215, 1.5]),
        layers=rng.choice([1, 2, 5]),
        heads=heads,
        head_dim=rng.choice([8, 16, 32, 40]),
        time_embed_dim=rng.choice([32, 64]),
        condition_dim=rng.choice([8, 32]),
        rope_axes_dim=rng.choice([(256, 256), (64, 128)]),
        text_width=rng.choice([32, 64]),
        text_layers=rng.choice([2, 3, 4]),
        text_heads=text_heads,
        text_kv_heads=rng.choice([1, 2]),
        attention_bias=rng.random() < 0.7,
        partial_rotary_factor=rng.choice([0.5, 1.0]),
        scheduler=rng.choice(
            [{}, {"time_shift_type": "exponential"}, {"use_dynamic_shifting": False, "shift": 3.0}, {"shift_terminal": 0.1}]
        ),
    )


def run_case(case: tiny.Tiny, rng: random.Random, folder: Path, old_text_config: bool) -> tuple[float, float]:
    pipe = tiny.build(case)
    tiny.save(pipe, folder / "pipe", rng.choice(["10GB", "50KB"]))
    if old_text_config:
        tiny.downgrade_text_config(folder / "pipe")
    tiny.use_posterior_mean(pipe)
    height, width = rng.choice([64, 80, 128]), rng.choice([64, 96, 128])
    control = Image.fromarray(
        np.random.default_rng(case.seed).integers(0, 256, (rng.choice([50, 64, 130]), rng.choice([64, 77, 128]), 3), np.uint8)
    )
    control.save(folder / "control.png")
    steps, guidance, seed = rng.choice([1, 3, 10, 50]), rng.choice([1.0, 3.5]), rng.randrange(10**6)
    if "shift_terminal" in case.scheduler and steps == 1:
        steps = 2  # one step is 0 / 0 in the reference
    images = rng.choice([1, 2])
    prompt, negative = rng.choice(tiny.CORPUS), rng.choice(["", "blurry"])
    max_length = rng.choice([1024, 9])
    with torch.no_grad():
        latents = pipe(
            prompt,
            negative,
            control_image=control,
            height=height,
            width=width,
            num_inference_steps=steps,
            guidance_scale=guidance,
            num_images_per_prompt=images,
            generator=torch.Generator("cpu").manual_seed(seed),
            max_sequence_length=max_length,
            output_type="latent",
        ).images
        decoded = pipe.vae.decode(latents / pipe.vae.config.scaling_factor, return_dict=False)[0]
        pictures = pipe.image_processor.postprocess(decoded, output_type="pil")
    flags = {
        "pretrained_model_name_or_path": folder / "pipe",
        "control_image": folder / "control.png",
        "processor": "none",
        "prompt": prompt,
        "negative_prompt": negative,
        "height": height,
        "width": width,
        "num_inference_steps": steps,
        "guidance_scale": guidance,
        "num_images_per_prompt": images,
        "max_sequence_length": max_length,
        "seed": seed,
        "output": folder / "out.png",
        "output_latents": folder / "out.safetensors",
    }
    command = [str(BINARY)] + [part for name, value in flags.items() for part in (f"--{name}", str(value))]
    subprocess.run(command, check=True)
    ours = load_file(folder / "out.safetensors")["latents"]
    error = ((ours - latents).norm() / latents.norm()).item()
    names = ["out.png"] if images == 1 else [f"out-{i + 1}.png" for i in range(images)]
    difference = max(
        np.abs(np.asarray(Image.open(folder / name), np.float64) - np.asarray(picture, np.float64)).mean()
        for name, picture in zip(names, pictures)
    )
    return error, difference


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--cases", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng, worst = random.Random(args.seed), (0.0, 0.0)
    for index in range(args.cases):
        case = draw_case(rng)
        with tempfile.TemporaryDirectory() as folder:
            error, difference = run_case(case, rng, Path(folder), old_text_config=index % 2 == 1)
        worst = max(worst[0], error), max(worst[1], difference)
        print(f"{index}: latents {error:.2e}, pictures {difference:.4f} / 255   {case}", flush=True)
    print(f"worst: latents {worst[0]:.2e}, pictures {worst[1]:.4f} / 255")
    return 0 if worst[0] <= 1e-5 and worst[1] <= 0.5 else 1


if __name__ == "__main__":
    sys.exit(main())
