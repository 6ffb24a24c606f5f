"""What a machine with a GPU is asked, part by part; each writes a JSON file, and `rows` makes tables of them.

    bash run.sh survey|parity|speed|cube|train|rows [--device libtorch-cuda] [--out results]

`cargo xtask gpu-kit` packs this with programs, pictures and the peer's wheels. It needs Python with PyTorch, and for
`cuda` a CUDA toolkit; no network and no Rust. With `--device libtorch` the same runs on a CPU, with small sizes.
"""

import argparse
import contextlib
import json
import lzma
import os
import platform
import re
import subprocess
import sys
import tarfile
import threading
import time
from pathlib import Path

import torch

KIT = Path(__file__).resolve().parent
WORK = KIT / "work"
# Products of the model at 1024x1024 with 64 tokens of text: rows, inputs, outputs.
PRODUCTS = ((4160, 4096, 4096), (4160, 4096, 16384), (4160, 16384, 4096), (8192, 8192, 8192))
FULL = {"num_layers": 28, "height": 1024, "width": 1024, "dtype": "bfloat16", "repeats": 5}
SMALL = {"num_layers": 1, "height": 64, "width": 64, "dtype": "float32", "repeats": 2}
MODES = ("forward", "train")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=[*PARTS, "rows"])
    parser.add_argument("--device", default="libtorch-cuda", help="as of the programs")
    parser.add_argument("--out", type=Path, default=Path("results"))
    parser.add_argument("--pairs", type=int, default=3, help="runs of both in turn")
    parser.add_argument("--steps", type=int, default=500, help="of the training")
    parser.add_argument("--limit", type=float, default=240, help="seconds that a program may take")
    return parser.parse_args()


# --- what is carried


def unpack() -> None:
    """Programs and wheels to WORK, and the folder that is compiled into the tests to where they look for it."""
    if not (WORK / "done").exists():
        with tarfile.open(fileobj=lzma.open(KIT / "programs.tar.xz")) as programs:
            programs.extractall(WORK, filter="data")
        wheels = sorted(map(str, (KIT / "wheels").glob("*.whl")))
        pip = [sys.executable, "-m", "pip", "install", "-q", "--no-index", "--no-deps", "--no-compile", "--target"]
        subprocess.run([*pip, str(WORK / "site"), *wheels], check=True)
        (WORK / "done").touch()
    built = Path((KIT / "built_in.txt").read_text().strip())
    if not built.exists():
        built.parent.mkdir(parents=True, exist_ok=True)
        built.symlink_to(KIT / "checkout")


def environment() -> dict:
    torch_lib = Path(torch.__file__).parent / "lib"
    site = Path(torch.__file__).parents[1] / "nvidia"
    libraries = [torch_lib, *site.glob("*/lib"), Path("/usr/local/cuda/lib64")]
    given = os.environ.get("LD_LIBRARY_PATH")
    return {
        **os.environ,
        "LD_LIBRARY_PATH": ":".join([*map(str, libraries), *([given] if given else [])]),
        "CUDA_PATH": os.environ.get("CUDA_PATH", "/usr/local/cuda"),
        "PYTHONPATH": str(WORK / "site"),
        "RUST_BACKTRACE": "1",
    }


def run(args, command: list, **more) -> dict:
    """Runs a program; gives its status, time and the end of what it said."""
    start = time.monotonic()
    print("==", *command, flush=True)
    env = {**environment(), **more.pop("env", {})}
    try:
        done = subprocess.run(list(map(str, command)), env=env, capture_output=True, text=True, timeout=args.limit, **more)
        status, out, err = done.returncode, done.stdout, done.stderr
    except subprocess.TimeoutExpired as late:
        status, out, err = "timeout", *((text or b"").decode(errors="replace") for text in (late.stdout, late.stderr))
    return {"status": status, "seconds": round(time.monotonic() - start, 2), "out": out, "error": err[-2000:]}


def json_of(done: dict) -> dict:
    """The JSON object that a program prints last, or what went wrong."""
    lines = done["out"].splitlines()
    if done["status"] == 0 and lines:
        return json.loads(lines[-1])
    return {"failed": done["status"], "error": done["error"].strip().splitlines()[-6:]}


# --- what is measured


@contextlib.contextmanager
def gpu_memory():
    """The most memory of the GPU that was in use, in MiB; 0 without one."""
    found, over = {"peak_gpu_mib": 0}, threading.Event()

    def watch() -> None:
        query = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
        while not over.is_set():
            with contextlib.suppress(OSError, ValueError):
                used = subprocess.run(query, capture_output=True, text=True).stdout.split()
                found["peak_gpu_mib"] = max([found["peak_gpu_mib"], *map(int, used)])
            over.wait(0.5)

    watching = threading.Thread(target=watch, daemon=True)
    watching.start()
    try:
        yield found
    finally:
        over.set()
        watching.join()


def is_cpu(args) -> bool:
    return args.device in ("flex", "libtorch")


def milliseconds(work, repeats: int) -> float:
    on_gpu = torch.cuda.is_available()
    for _ in range(2):
        work()
    if on_gpu:
        torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(repeats):
        work()
    if on_gpu:
        torch.cuda.synchronize()
    return 1e3 * (time.perf_counter() - start) / repeats


def ceilings(args) -> dict:
    device, scale = ("cpu", 16) if is_cpu(args) else ("cuda", 1)
    repeats = 2 if is_cpu(args) else 20

    def normal(*shape):
        return torch.randn(*shape, device=device, dtype=torch.bfloat16)

    found = {}
    for m, k, n in PRODUCTS:
        m, k, n = m // scale, k // scale, n // scale
        x, w = normal(m, k), normal(n, k)
        took = milliseconds(lambda: torch.nn.functional.linear(x, w), repeats)
        found[f"product {m}x{k}x{n}, TFLOP/s"] = 2 * m * k * n / took / 1e9
    x = normal((1 << 28) // scale)
    y = torch.empty_like(x)
    found["copy, read and written, GB/s"] = 4 * x.numel() / milliseconds(lambda: y.copy_(x), repeats) / 1e6
    heads, tokens = 32 // scale, 4160 // scale
    q = normal(1, heads, tokens, 128)
    took = milliseconds(lambda: torch.nn.functional.scaled_dot_product_attention(q, q, q), repeats)
    found["attention, TFLOP/s"] = 4 * tokens**2 * heads * 128 / took / 1e9
    if not is_cpu(args):
        for pinned in (False, True):
            host = torch.empty(1 << 28, dtype=torch.bfloat16, pin_memory=pinned)
            took = milliseconds(lambda: host.copy_(x), 2)
            found[f"to the host, {'pinned' if pinned else 'pageable'}, GB/s"] = 2 * x.numel() / took / 1e6
    return {key: round(value, 2) for key, value in found.items()}


def bench(args, device: str, mode: str, sizes: dict) -> dict:
    flags = [word for name, value in {**sizes, "mode": mode}.items() for word in (f"--{name}", value)]
    flags += ["--gradient_checkpointing"] * (mode == "train")
    program = [WORK / "bench_transformer", "--device", device]
    peer = [sys.executable, KIT / "peer.py", "--device", "cpu" if is_cpu(args) else "cuda"]
    found = {"ours": [], "diffusers": []}
    for _ in range(args.pairs):
        for name, command in (("ours", program), ("diffusers", peer)):
            with gpu_memory() as memory:
                found[name].append({**json_of(run(args, [*command, *flags])), **memory})
    return found


# --- parts


def survey(args) -> dict:
    """Versions, ceilings, and whether each backend starts."""
    smi = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total,clocks.max.sm", "--format=csv,noheader"]
    gpu = None
    with contextlib.suppress(OSError):
        gpu = subprocess.run(smi, capture_output=True, text=True).stdout.strip() or None
    versions = {"python": platform.python_version(), "torch": torch.__version__, "cuda": torch.version.cuda}
    versions |= {"glibc": platform.libc_ver()[1], "processors": os.cpu_count(), "gpu": gpu}
    devices = [args.device] if is_cpu(args) else ["libtorch-cuda", "cuda"]
    sizes = {**SMALL, "height": 256, "width": 256} if not is_cpu(args) else SMALL
    flags = [word for name, value in sizes.items() for word in (f"--{name}", value)]
    starts = {d: json_of(run(args, [WORK / "bench_transformer", "--device", d, *flags])) for d in devices}
    return {"versions": versions, "ceilings": ceilings(args), "starts": starts}


def parity(args) -> dict:
    """The tests of the backends. Without TF32, which leaves 10 bits of a factor."""
    device = args.device if is_cpu(args) or ":" in args.device else f"{args.device}:0"
    env = {"NVIDIA_TF32_OVERRIDE": "0", "CUBECL_AUTOTUNE_LEVEL": "minimal"}
    done = run(args, [WORK / "backends", device, "--test-threads", "1"], env=env, cwd=KIT / "checkout")
    tests = re.findall(r"^test (\S+) +\.\.\. (\w+)", done["out"], re.MULTILINE)
    failed = [name for name, result in tests if result != "ok"]
    passed = len(tests) - len(failed)
    said = done["out"][-6000:] if failed or done["status"] != 0 else ""
    return {"device": device, "status": done["status"], "passed": passed, "failed": failed, "seconds": done["seconds"],
            "said": said, "error": done["error"] if done["status"] != 0 else ""}  # fmt: skip


def speed(args) -> dict:
    """The transformer in turn with diffusers."""
    return {mode: bench(args, args.device, mode, SMALL if is_cpu(args) else FULL) for mode in MODES}


def cube(args) -> dict:
    """The same on CubeCL; what autotune chose comes back for the next time."""
    if is_cpu(args):
        return {"skipped": "CubeCL's own kernels are a GPU's"}
    found = {"4 blocks": bench(args, "cuda", "forward", {**FULL, "num_layers": 4})}
    found["28 blocks"] = {mode: bench(args, "cuda", mode, FULL) for mode in MODES}
    cache = Path("target/environment")
    if cache.is_dir():
        with tarfile.open(args.out / "autotune.tar.xz", "w:xz") as packed:
            packed.add(cache)
    return found


def train(args) -> dict:
    """A small model, trained: that the loss falls, and how fast and in how much memory."""
    out = args.out.resolve() / "trained"
    checkout = KIT / "checkout"
    flags = {"pretrained_model_name_or_path": checkout / "tests/fixtures/untrained",
             "dataset_name": checkout / "assets/figures.parquet", "output_dir": out, "resolution": 64,
             "train_batch_size": 8, "max_train_steps": args.steps, "learning_rate": 1e-3, "seed": 7,
             "device": args.device, "report_to": "none", "checkpointing_steps": max(args.steps // 2, 1)}  # fmt: skip
    command = [WORK / "train_control_cogview4", *(word for name, value in flags.items() for word in (f"--{name}", value))]
    with gpu_memory() as memory:
        done = run(args, command)
    if done["status"] != 0:
        return {"failed": done["status"], "error": done["error"].strip().splitlines()[-6:]}
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    tenth = max(len(lines) // 10, 1)
    mean = lambda key, some: sum(line[key] for line in some) / len(some)  # noqa: E731
    return {"steps": len(lines), "loss_at_first": mean("loss", lines[:tenth]), "loss_at_last": mean("loss", lines[-tenth:]),
            "samples_per_second": mean("samples_per_second", lines[tenth:] or lines),
            "update_seconds": mean("update_seconds", lines), "mfu": lines[-1].get("mfu"), **memory}  # fmt: skip


PARTS = {"survey": survey, "parity": parity, "speed": speed, "cube": cube, "train": train}


# --- tables


def rows(out: Path) -> str:
    """What the parts found, as tables for BENCHMARKS.md."""
    found = {part: json.loads((out / f"{part}.json").read_text()) for part in PARTS if (out / f"{part}.json").exists()}
    text = []
    if "survey" in found:
        versions = found["survey"]["versions"]
        text += [", ".join(f"{key} {value}" for key, value in versions.items()), "", "| ceiling | |", "|---|---|"]
        text += [f"| {key} | {value} |" for key, value in found["survey"]["ceilings"].items()]
    if "parity" in found:
        part = found["parity"]
        text += ["", f"{part['device']}: {part['passed']} tests passed, {len(part['failed'])} failed: {part['failed']}"]
    tables = {**found.get("speed", {}), **{f"cuda, {k}": v for k, v in found.get("cube", {}).get("28 blocks", {}).items()}}
    if tables:
        text += ["", "| | ours, s | diffusers, s | ratio, min / median / max | GPU memory, MiB |", "|---|---|---|---|---|"]
    for name, pairs in tables.items():
        ours, peers = (pairs[key] for key in ("ours", "diffusers"))
        if any("median_s" not in one for one in ours + peers):
            text.append(f"| {name} | failed: {[one for one in ours + peers if 'median_s' not in one][0]} | | | |")
            continue
        ratios = sorted(a["median_s"] / b["median_s"] for a, b in zip(ours, peers))
        middle = len(ratios) // 2
        medians = [sorted(one["median_s"] for one in many)[middle] for many in (ours, peers)]
        memory = " / ".join(str(max(one["peak_gpu_mib"] for one in many)) for many in (ours, peers))
        spread = " / ".join(f"{ratio:.3f}" for ratio in (ratios[0], ratios[middle], ratios[-1]))
        text.append(f"| {name} | {medians[0]:.4f} | {medians[1]:.4f} | {spread} | {memory} |")
    if "train" in found:
        text += ["", "training: " + ", ".join(f"{key} {value}" for key, value in found["train"].items())]
    return "\n".join(text)


def main() -> None:
    args = arguments()
    args.out.mkdir(parents=True, exist_ok=True)
    if args.part == "rows":
        print(rows(args.out))
        return
    unpack()
    found = PARTS[args.part](args)
    (args.out / f"{args.part}.json").write_text(json.dumps(found, indent=1, default=str) + "\n")
    print(json.dumps(found, indent=1, default=str))


if __name__ == "__main__":
    main()
