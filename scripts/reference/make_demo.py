"""Writes the demo pipeline, assets/demo, with random weights, and its photograph, assets/chelsea.png.

    python scripts/reference/make_demo.py path/to/chelsea.png

The photograph is `skimage/data/chelsea.png` of the package scikit-image 0.22.0.
"""

import shutil
import sys
from pathlib import Path

from PIL import Image

import tiny

ASSETS = Path(__file__).resolve().parents[2] / "assets"

DEMO = tiny.Tiny(
    seed=4,
    levels=(8, 16, 32),
    layers=2,
    heads=3,
    head_dim=32,
    time_embed_dim=32,
    condition_dim=32,
    sample_size=64,
    text_width=64,
)


def main() -> None:
    shutil.rmtree(ASSETS / "demo", ignore_errors=True)
    tiny.save(tiny.build(DEMO), ASSETS / "demo")
    photograph = Image.open(sys.argv[1]).convert("RGB")
    left, top, side = 110, 22, 256
    photograph.crop((left, top, left + side, top + side)).save(ASSETS / "chelsea.png", optimize=True)


if __name__ == "__main__":
    main()
