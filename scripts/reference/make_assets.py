"""Writes a pipeline with random weights for tests, tests/fixtures/untrained, the photograph assets/chelsea.png, and a small
data set to train on, assets/figures.parquet.

    python scripts/reference/make_assets.py path/to/chelsea.png

The photograph is `skimage/data/chelsea.png` of the package scikit-image 0.22.0.
"""

import io
import shutil
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageDraw

import tiny

ROOT = Path(__file__).resolve().parents[2]
ASSETS = ROOT / "assets"

UNTRAINED = tiny.Tiny(
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


COLOURS = {"red": (205, 50, 45), "green": (60, 160, 75), "blue": (55, 90, 200), "yellow": (235, 200, 60)}
# Joints of a figure: neck, hip, hands, feet; lines between them.
LIMBS = [("head", "neck"), ("neck", "hip"), ("neck", "left hand"), ("neck", "right hand"), ("hip", "left foot"), ("hip", "right foot")]


def figure(rng: np.random.Generator) -> dict:
    """A figure in some pose, its skeleton, and a caption."""
    side, scale = 64, 4
    x, y, size = rng.uniform(22, 42), rng.uniform(22, 30), rng.uniform(0.8, 1.2)

    def at(origin, angle, length):
        return (origin[0] + size * length * np.cos(angle), origin[1] + size * length * np.sin(angle))

    joints = {"neck": (x, y)}
    joints["head"] = at(joints["neck"], -np.pi / 2 + rng.uniform(-0.3, 0.3), 7)
    joints["hip"] = at(joints["neck"], np.pi / 2 + rng.uniform(-0.25, 0.25), 13)
    for name, sign in (("left", -1), ("right", 1)):
        joints[f"{name} hand"] = at(joints["neck"], np.pi / 2 + sign * rng.uniform(0.2, 2.6), 14)
        joints[f"{name} foot"] = at(joints["hip"], np.pi / 2 + sign * rng.uniform(0.1, 0.9), 17)
    shirt, ground = rng.choice(list(COLOURS), 2, replace=False)
    picture = Image.new("RGB", (side * scale,) * 2, tuple(int(0.5 * c + 110) for c in COLOURS[ground]))
    skeleton = Image.new("RGB", (side * scale,) * 2)
    for start, end in LIMBS:
        line = [tuple(scale * c for c in joints[joint]) for joint in (start, end)]
        colour = COLOURS[shirt] if "foot" not in end else (45, 45, 60)
        ImageDraw.Draw(picture).line(line, fill=colour, width=5 * scale)
        ImageDraw.Draw(skeleton).line(line, fill=(255, 255, 255), width=2 * scale)
    head = [scale * (c + offset) for offset in (-4.5, 4.5) for c in joints["head"]]
    ImageDraw.Draw(picture).ellipse(head, fill=(235, 190, 150))

    def encoded(image):
        buffer = io.BytesIO()
        image.resize((side, side), Image.Resampling.BOX).save(buffer, "png", optimize=True)
        return {"bytes": buffer.getvalue(), "path": None}

    return {
        "image": encoded(picture),
        "conditioning_image": encoded(skeleton),
        "text": f"a figure in a {shirt} shirt on a {ground} ground",
    }


def figures(rows: int) -> None:
    """In the form of Hugging Face's parquet."""
    rng = np.random.default_rng(11)
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    schema = pa.schema([("image", image), ("conditioning_image", image), ("text", pa.string())])
    drawn = [figure(rng) for _ in range(rows)]
    pq.write_table(pa.Table.from_pylist(drawn, schema), ASSETS / "figures.parquet")
    (ASSETS / "figure.png").write_bytes(drawn[50]["conditioning_image"]["bytes"])


def main() -> None:
    folder = ROOT / "tests" / "fixtures" / "untrained"
    shutil.rmtree(folder, ignore_errors=True)
    tiny.save(tiny.build(UNTRAINED), folder)
    photograph = Image.open(sys.argv[1]).convert("RGB")
    left, top, side = 110, 22, 256
    photograph.crop((left, top, left + side, top + side)).save(ASSETS / "chelsea.png", optimize=True)
    figures(160)


if __name__ == "__main__":
    main()