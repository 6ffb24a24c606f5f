"""Times training steps here and in the same loop in PyTorch, in turn, and compares the memory of both processes.

    cargo build --release -p cogview4-trainer
    python scripts/reference/bench_training.py --pairs 5

Both train a small transformer on batches of latents from memory or a pack: forward, backward, clipping, AdamW; f32.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from diffusers import CogView4Transformer2DModel

from pairs import ENVIRONMENT, RELEASE, ROOT, last_json, table

UNTRAINED = ROOT / "tests" / "fixtures" / "untrained"
BINARY = RELEASE / "train_control_cogview4"
RESOLUTION, BATCH, STEPS, SKIPPED = 128, 8, 14, 4


def reference() -> dict:
    model = CogView4Transformer2DModel.from_pretrained(UNTRAINED / "transformer").train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    side, size, times = RESOLUTION // 4, torch.full((BATCH, 2), float(RESOLUTION)), []
    for _ in range(STEPS):
        start = time.perf_counter()
        latents, noise, control = (torch.randn(BATCH, 16, side, side) for _ in range(3))
        t = torch.randint(1, 1001, (BATCH,)).float()
        sigma = (t / 1000).view(-1, 1, 1, 1)
        noisy = (1 - sigma) * latents + sigma * noise
        embeds = torch.randn(BATCH, 32, model.config.text_embed_dim)
        inputs = torch.cat([noisy, control], 1)
        output = model(inputs, embeds, t, size, size, torch.zeros(BATCH, 2), return_dict=False)[0]
        ((output - (noise - latents)) ** 2).mean().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        times.append(time.perf_counter() - start)
    return {"step_s": statistics.median(times[SKIPPED:]), "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def ours(folder: Path) -> dict:
    command = [
        BINARY, "--pretrained_model_name_or_path", UNTRAINED, "--dataset_name", ROOT / "assets" / "figures.parquet",
        "--output_dir", folder / "out", "--resolution", RESOLUTION, "--train_batch_size", BATCH, "--max_train_steps", STEPS,
        "--learning_rate", 1e-3, "--pack_dir", folder / "pack", "--seed", 0, "--lr_scheduler", "constant",
    ]  # fmt: skip
    subprocess.run(list(map(str, command)), check=True, env=ENVIRONMENT)
    rows = [json.loads(line) for line in (folder / "out" / "metrics.jsonl").read_text().splitlines()]
    times = [BATCH / row["samples_per_second"] for row in rows[SKIPPED:]]
    return {"step_s": statistics.median(times), "peak_mib": rows[-1]["peak_memory_bytes"] / 2**20}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--reference", action="store_true", help="one run of the reference, for its own process")
    args = parser.parse_args()
    if args.reference:
        print(json.dumps(reference()))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ours(folder)  # fills the pack
        pairs = []
        for _ in range(args.pairs):
            first = ours(folder)
            pairs.append((first, last_json([sys.executable, __file__, "--reference"])))
    for key in ("step_s", "peak_mib"):
        table(key, [(a[key], b[key]) for a, b in pairs], "PyTorch")


if __name__ == "__main__":
    main()
