"""Writes `tests/fixtures/training/adam8bit.safetensors`: the tables of 8-bit moments, the nearest codes of some values, and
five steps of bitsandbytes' AdamW on the CPU.

`pip install bitsandbytes==0.50.2` beside the requirements. torchao 0.18.0 does not import with torch 2.9.0, so its
quantiser is loaded alone: `make_adam8bit.py TORCHAO/optim/quant_utils.py`.
"""

import importlib.util
import sys
from pathlib import Path

import bitsandbytes
import torch
from bitsandbytes.functional import create_dynamic_map
from safetensors.torch import save_file

TARGET = Path(__file__).parents[2] / "tests/fixtures/training/adam8bit.safetensors"
RATES = [1e-3, 5e-4, 0.0, 2e-3, 1e-3]
# Blocks of 256, of which the last is short; and a parameter whose moments stay in f32.
SIZES = {"large": 4452, "small": 4095}


def main() -> None:
    spec = importlib.util.spec_from_file_location("quant_utils", sys.argv[1])
    torchao = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(torchao)
    generator = torch.Generator().manual_seed(7)
    randn = lambda *shape: torch.randn(*shape, generator=generator)

    tensors = {}
    magnitudes = 10 ** (torch.rand(1024, generator=generator) * 9 - 9)
    for name, signed in (("signed", True), ("unsigned", False)):
        table = create_dynamic_map(signed)
        middles = (table[1:] + table[:-1]) / 2
        values = torch.cat([magnitudes, middles, table, -magnitudes if signed else magnitudes / 2]).clamp(-1, 1)
        tensors[f"{name}.table"] = table
        tensors[f"{name}.values"] = values
        tensors[f"{name}.codes"] = torchao.quantize_8bit_with_qmap(values, table)

    for name, size in SIZES.items():
        parameter = torch.nn.Parameter(randn(size))
        optimizer = bitsandbytes.optim.AdamW8bit([parameter], lr=1.0, weight_decay=1e-2)
        tensors[f"{name}.start"] = parameter.detach().clone()
        for step, rate in enumerate(RATES):
            parameter.grad = (randn(size) * 0.1 * (1 + step)).bfloat16().float()
            optimizer.param_groups[0]["lr"] = rate
            optimizer.step()
            state = optimizer.state[parameter]
            tensors[f"{name}.{step}.gradient"] = parameter.grad.bfloat16()
            tensors[f"{name}.{step}.parameter"] = parameter.detach().clone()
            if name == "large":
                for ours, theirs in (("exp_avg", "state1"), ("exp_avg_sq", "state2")):
                    tensors[f"{name}.{step}.{ours}"] = state[theirs].clone()
                for ours, theirs in (("exp_avg_absmax", "absmax1"), ("exp_avg_sq_absmax", "absmax2")):
                    tensors[f"{name}.{step}.{ours}"] = state[theirs].clone()
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, TARGET)


main()
