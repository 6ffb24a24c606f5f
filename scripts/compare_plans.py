"""Holds plans of drawings against what they take: `compare_plans.py PIPELINE --count 4 --seed 1 -- FLAGS`.

Draws settings at random, asks `sft_infer --plan` for the memory of each, then draws with it and looks at the most
anonymous memory (`RssAnon`) that the process has. Needs Linux, and `cargo build --release --example sft_infer`. Flags behind
`--` are those of every drawing; `--settings 'FLAGS'` adds settings that are not random.
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

PROGRAM = pathlib.Path(__file__).parent.parent / "target/release/examples/sft_infer"
INTERVAL_S = 0.01


def draw_settings(rng, devices):
    side = [rng.choice(["256", "384", "512", "640"]) for _ in range(2)]
    flags = ["--device", rng.choice(devices), "--dtype", rng.choice(["float32", "bfloat16"])]
    flags += ["--height", side[0], "--width", side[1], "--num_images_per_prompt", rng.choice(["1", "2"])]
    flags += rng.choice([[], ["--offload"], ["--max_memory", "3GiB"]])
    flags += rng.choice([[], ["--weights", "int8"]])
    flags += rng.choice([[], ["--vae_tiling", "256"]])
    return flags + ["--guidance_scale", rng.choice(["1", "3.5"])]


def planned(flags):
    done = subprocess.run([PROGRAM, "--plan", *flags], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(done.stderr)
    plan = json.loads(done.stdout.splitlines()[-1])
    return plan["peak_host_bytes"], plan["fits"]


def measured(flags, folder):
    """The most memory, and the error where there was one."""
    process = subprocess.Popen([PROGRAM, *flags], cwd=folder, stderr=subprocess.PIPE, text=True)
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
    common = ["--pretrained_model_name_or_path", str(args.pipeline.resolve()), "--num_inference_steps", "1", *common]
    worst = 0
    with tempfile.TemporaryDirectory() as folder:
        for flags in args.settings + [draw_settings(rng, args.devices) for _ in range(args.count)]:
            (plan, fits), (peak, error) = planned(common + flags), measured(common + flags, folder)
            if fits != (error is None):
                sys.exit(f"{' '.join(flags)}: {error or 'drawn, though the plan does not fit'}")
            if error:
                print(f"refused, planned {plan / 1e9:.3f} GB: {' '.join(flags)}: {error}", flush=True)
                continue
            worst = max(worst, abs(peak / plan - 1))
            print(f"{peak / plan:.3f}  {peak / 1e9:.3f} GB, planned {plan / 1e9:.3f}: {' '.join(flags)}", flush=True)
    print(f"off by {worst:.1%} at most")


main()
