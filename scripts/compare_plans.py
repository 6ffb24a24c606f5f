"""Holds plans against what drawings or trainings take: `compare_plans.py drawing PIPELINE --count 4 --seed 1 -- FLAGS`.

Draws settings at random, asks for the plan of each, then draws or trains with it and looks at the most anonymous memory
(`RssAnon`) that the process has. Needs Linux, and `cargo build --release --bins --examples`. Flags behind `--` are those
of every run, such as a training's `--dataset_name`; `--settings 'FLAGS'` adds settings that are not random.
"""

import argparse
import json
import pathlib
import random
import shlex
import subprocess
import sys
import tempfile
import time

TARGET = pathlib.Path(__file__).parent.parent / "target/release"
INTERVAL_S = 0.01


def draw_training(rng, devices):
    flags = ["--device", rng.choice(devices), "--resolution", rng.choice(["128", "256", "384", "512"])]
    flags += rng.choice([[], ["--use_8bit_adam"]])
    flags += rng.choice([[], ["--mixed_precision", "bf16"], ["--mixed_precision", "bf16", "--stochastic_rounding"]])
    flags += rng.choice([[], ["--gradient_checkpointing"], ["--gradient_checkpointing", "--optimizer_in_backward"]])
    for part in ["optimizer", "gradient", "param"]:
        flags += rng.choice([[], [f"--{part}_offload", "disk"]])
    return flags


def draw_drawing(rng, devices):
    side = [rng.choice(["256", "384", "512", "640"]) for _ in range(2)]
    flags = ["--device", rng.choice(devices), "--dtype", rng.choice(["float32", "bfloat16"])]
    flags += ["--height", side[0], "--width", side[1], "--num_images_per_prompt", rng.choice(["1", "2"])]
    flags += rng.choice([[], ["--offload"], ["--max_memory", "3GiB"]])
    flags += rng.choice([[], ["--weights", "int8"]])
    flags += rng.choice([[], ["--vae_tiling", "256"]])
    return flags + ["--guidance_scale", rng.choice(["1", "3.5"])]


PROGRAMS = {
    "drawing": ([TARGET / "examples/sft_infer"], "--plan", draw_drawing, ["--num_inference_steps", "1"]),
    "training": ([TARGET / "train_control_cogview4"], "plan", draw_training, ["--max_train_steps", "2", "--seed", "1"]),
}


def planned(command, folder):
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(done.stderr)
    plan = json.loads(done.stdout.splitlines()[-1])
    return plan["peak_host_bytes"], plan["fits"]


def measured(command, folder):
    """The most memory, and the error where there was one."""
    process = subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True)
    most = 0
    while process.poll() is None:
        try:
            status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
        except OSError:
            break
        held = [int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("RssAnon")]
        most = max([most, *held])
        time.sleep(INTERVAL_S)
    said = process.communicate()[1]
    return most, said.strip() if process.returncode != 0 else None


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=PROGRAMS)
    parser.add_argument("pipeline", type=pathlib.Path)
    parser.add_argument("--count", type=int, default=4, help="settings drawn at random")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--devices", nargs="+", default=["flex"])
    parser.add_argument("--settings", action="append", default=[], type=shlex.split)
    own, common = sys.argv[1:], []
    if "--" in own:
        at = own.index("--")
        own, common = own[:at], own[at + 1 :]
    args = parser.parse_args(own)
    rng = random.Random(args.seed)
    program, plan_flag, draw, every = PROGRAMS[args.what]
    common = ["--pretrained_model_name_or_path", str(args.pipeline.resolve()), *every, *common]
    worst = 0
    for flags in args.settings + [draw(rng, args.devices) for _ in range(args.count)]:
        with tempfile.TemporaryDirectory() as folder:
            plan, fits = planned([*program, plan_flag, *common, *flags], folder)
            peak, error = measured([*program, *common, *flags], folder)
            if fits != (error is None):
                sys.exit(f"{' '.join(flags)}: {error or 'done, though the plan does not fit'}")
            if error:
                print(f"refused, planned {plan / 1e9:.3f} GB: {' '.join(flags)}: {error}", flush=True)
                continue
            worst = max(worst, abs(peak / plan - 1))
            print(f"{peak / plan:.3f}  {peak / 1e9:.3f} GB, planned {plan / 1e9:.3f}: {' '.join(flags)}", flush=True)
    print(f"off by {worst:.1%} at most")


main()
