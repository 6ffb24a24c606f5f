"""Draws the embedded demo with diffusers and with sft_infer, prints how far apart they are, and keeps diffusers' latents for
the tests, tests/fixtures/demo.safetensors.

    cargo build --release --example sft_infer
    python scripts/reference/compare_demo.py

Bounds: 1e-3 relative L2 of the final latents, 2 / 255 largest difference of the pictures.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from diffusers import CogView4ControlPipeline
from PIL import Image
from safetensors.torch import load_file, save_file

import tiny

ROOT = Path(__file__).resolve().parents[2]
BINARY = ROOT / "target" / "release" / "examples" / "sft_infer"
PROMPT = "a orange fox face, animals & nature, on a white background"


def main() -> int:
    pipe = CogView4ControlPipeline.from_pretrained(ROOT / "assets" / "demo", torch_dtype=torch.float32)
    tiny.use_posterior_mean(pipe)
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        names = {"output": "ours.png", "output_latents": "ours.safetensors", "output_control": "control.png"}
        flags = [part for name, file in names.items() for part in (f"--{name}", str(folder / file))]
        subprocess.run([str(BINARY), *flags], check=True)
        control = Image.open(folder / "control.png")
        generator = torch.Generator("cpu").manual_seed(0)
        with torch.no_grad():
            latents = pipe(
                PROMPT, control_image=control, guidance_scale=3.5, generator=generator, output_type="latent"
            ).images
            decoded = pipe.vae.decode(latents / pipe.vae.config.scaling_factor).sample
        picture = pipe.image_processor.postprocess(decoded, output_type="pil")[0]
        ours = load_file(folder / "ours.safetensors")["latents"]
        error = ((ours - latents).norm() / latents.norm()).item()
        pictures = [np.asarray(image, np.int32) for image in (picture, Image.open(folder / "ours.png"))]
    difference = np.abs(pictures[0] - pictures[1]).max()
    print(f"latents {error:.2e} relative L2, pictures {difference} / 255 at most")
    save_file({"latents": latents.contiguous()}, ROOT / "tests" / "fixtures" / "demo.safetensors")
    return int(error > 1e-3 or difference > 2)


if __name__ == "__main__":
    sys.exit(main())
