"""One training step in PyTorch and in train_control_cogview4, compared tensor by tensor.

    cargo build --release -p cogview4-trainer
    python scripts/reference/compare_training.py

Bounds, relative L2: 1e-5 for the tensors of the step and each gradient, 2e-5 for the weights after it.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
import torch
from diffusers import CogView4ControlPipeline, CogView4Transformer2DModel
from diffusers.models.transformers.transformer_cogview4 import CogView4TrainingAttnProcessor
from PIL import Image
from safetensors.torch import load_file

import tiny

ROOT = Path(__file__).resolve().parents[2]
BINARY = ROOT / "target" / "release" / "train_control_cogview4"
PIPELINE = ROOT / "tests" / "fixtures" / "plain"
RESOLUTION, LEARNING_RATE, MAX_NORM = 64, 1e-3, 1.0


def relative(found: torch.Tensor, expected: torch.Tensor) -> float:
    return ((found - expected).norm() / expected.norm().clamp(min=1e-30)).item()


def write_data(folder: Path) -> None:
    rng, rows = np.random.default_rng(1), []
    for index in range(6):
        image = cv2.GaussianBlur(rng.integers(0, 256, (64, 64, 3), np.uint8), (0, 0), 3)
        Image.fromarray(image).save(folder / f"{index}.png")
        Image.fromarray(cv2.Canny(image, 20, 60)).convert("RGB").save(folder / f"{index}-edges.png")
        text = tiny.CORPUS[index % 3] * (1 + index % 2)
        rows.append({"image": f"{index}.png", "conditioning_image": f"{index}-edges.png", "text": text})
    (folder / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))


def base_pipeline(folder: Path) -> None:
    """A base model: the fixture's control model without its control columns."""
    subprocess.run(["cp", "-r", PIPELINE, folder], check=True)
    control = CogView4Transformer2DModel.from_pretrained(PIPELINE / "transformer")
    base = CogView4Transformer2DModel.from_config({**control.config, "in_channels": control.config.in_channels // 2})
    state = control.state_dict()
    key = "patch_embed.proj.weight"
    state[key] = state[key][:, : state[key].shape[1] // 2].contiguous()
    base.load_state_dict(state)
    base.save_pretrained(folder / "transformer")


def widened(folder: Path) -> CogView4Transformer2DModel:
    base = CogView4Transformer2DModel.from_pretrained(folder / "transformer")
    model = CogView4Transformer2DModel.from_config({**base.config, "in_channels": 2 * base.config.in_channels})
    state, key = base.state_dict(), "patch_embed.proj.weight"
    state[key] = torch.cat([state[key], torch.zeros_like(state[key])], dim=1)
    model.load_state_dict(state)
    return model


def forward(model: CogView4Transformer2DModel, dump: dict[str, torch.Tensor]) -> torch.Tensor:
    lengths, longest = dump["prompt_lengths"].long(), dump["prompt_embeds"].shape[1]
    mask = (torch.arange(longest)[None] >= longest - lengths[:, None]).int()
    for block in model.transformer_blocks:
        block.attn1.set_processor(CogView4TrainingAttnProcessor())
    return model(
        hidden_states=torch.cat([dump["noisy"], dump["control_latents"]], dim=1),
        encoder_hidden_states=dump["prompt_embeds"],
        timestep=dump["timesteps"],
        original_size=dump["original_size"],
        target_size=dump["target_size"],
        crop_coords=dump["crop"],
        attention_kwargs={"text_attn_mask": mask},
        return_dict=False,
    )[0]


def mean_loss(folder: Path) -> float:
    """With learning rate 0: how many standard errors lie between the mean loss here and in the reference's mathematics."""
    steps, batch = 150, 3
    command = [
        BINARY, "--pretrained_model_name_or_path", folder / "base", "--jsonl_for_train", folder / "train.jsonl",
        "--output_dir", folder / "still", "--resolution", RESOLUTION, "--train_batch_size", batch,
        "--num_train_epochs", steps // 2, "--max_train_steps", steps, "--learning_rate", 0, "--seed", 9,
    ]  # fmt: skip
    subprocess.run(list(map(str, command)), check=True)
    ours = [json.loads(line)["loss"] for line in (folder / "still" / "metrics.jsonl").read_text().splitlines()]
    pipe, model = CogView4ControlPipeline.from_pretrained(PIPELINE), widened(folder / "base")
    torch.manual_seed(0)
    rows = []
    for line in (folder / "train.jsonl").read_text().splitlines():
        row = json.loads(line)
        pixels = [torch.tensor(np.asarray(Image.open(folder / row[key]))).permute(2, 0, 1)[None] / 127.5 - 1
                  for key in ("image", "conditioning_image")]
        posteriors = [pipe.vae.encode(image).latent_dist for image in pixels]
        rows.append((posteriors[0], posteriors[1].mode(), pipe._get_glm_embeds(row["text"], 128)))
    theirs, size = [], torch.tensor([[float(RESOLUTION)] * 2])
    for index in range(steps * batch):
        posterior, control, embeds = rows[index % len(rows)]
        latents = posterior.sample()
        noise, t = torch.randn_like(latents), 1000 - (torch.rand(1) * 1000).floor()
        mu = 0.75 * (latents.shape[2] * latents.shape[3] / 4 / 256) ** 0.5 + 0.25
        sigma = mu / (mu + 1000 / t - 1)
        noisy = (1 - sigma) * latents + sigma * noise
        output = model(torch.cat([noisy, control], 1), embeds, t, size, size, torch.zeros(1, 2), return_dict=False)[0]
        theirs.append(((output - (noise - latents)) ** 2).mean().item())
    error = (np.var(ours) / len(ours) + np.var(theirs) / len(theirs)) ** 0.5
    print(f"mean loss          {np.mean(ours):.4f} here, {np.mean(theirs):.4f} in the reference, standard error {error:.4f}")
    return abs(np.mean(ours) - np.mean(theirs)) / error


def main() -> int:
    worst: dict[str, float] = {}

    def note(what: str, found: torch.Tensor, expected: torch.Tensor) -> None:
        worst[what] = max(worst.get(what, 0.0), relative(found, expected))

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_data(folder)
        base_pipeline(folder / "base")
        command = [
            BINARY, "--pretrained_model_name_or_path", folder / "base", "--jsonl_for_train", folder / "train.jsonl",
            "--output_dir", folder / "out", "--resolution", RESOLUTION, "--train_batch_size", 3, "--max_train_steps", 1,
            "--learning_rate", LEARNING_RATE, "--checkpointing_steps", 1, "--seed", 5, "--dump_step", folder / "dump.safetensors",
            "--weighting_scheme", "cosmap",
        ]  # fmt: skip
        subprocess.run(list(map(str, command)), check=True)
        dump = load_file(folder / "dump.safetensors")
        sigmas = dump["sigmas"].view(-1, 1, 1, 1)
        note("noisy", dump["noisy"], (1 - sigmas) * dump["image_latents"] + sigmas * dump["noise"])
        seq_len = dump["noise"].shape[2] * dump["noise"].shape[3] // 4
        mu, unshifted = 0.75 * (seq_len / 256) ** 0.5 + 0.25, dump["timesteps"] / 1000
        note("sigmas", dump["sigmas"], mu / (mu + 1 / unshifted - 1))

        model = widened(folder / "base")
        output = forward(model, dump)
        weight = 2 / (torch.pi * (1 - 2 * unshifted + 2 * unshifted**2)).view(-1, 1, 1, 1)
        loss = (weight * (output - (dump["noise"] - dump["image_latents"])) ** 2).flatten(1).mean(1).mean()
        note("model_output", dump["model_output"], output)
        note("loss", dump["loss"], loss)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), MAX_NORM)
        moments = load_file(folder / "out" / "checkpoint-1" / "optimizer.safetensors")
        for key, parameter in model.named_parameters():
            note("gradients", moments[f"exp_avg.{key}"].view_as(parameter) / 0.1, parameter.grad)
        optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=1e-2, eps=1e-8)
        optimizer.step()
        trained = CogView4Transformer2DModel.from_pretrained(folder / "out" / "checkpoint-1" / "transformer")
        names = [name for name, _ in model.named_parameters()]
        assert names == [name for name, _ in trained.named_parameters()]
        assert trained.config.in_channels == 2 * trained.config.out_channels
        flat = lambda module: torch.cat([parameter.detach().flatten() for parameter in module.parameters()])
        note("weights", flat(trained), flat(model))
        note("trained output", forward(trained, dump), forward(model, dump))
        # The same checkpoint, run here and there.
        shutil.copytree(folder / "base", folder / "tuned")
        shutil.rmtree(folder / "tuned" / "transformer")
        shutil.copytree(folder / "out" / "checkpoint-1" / "transformer", folder / "tuned" / "transformer")
        command[2], command[6], command[14] = folder / "tuned", folder / "again", 0
        subprocess.run(list(map(str, command)), check=True)
        dump = load_file(folder / "dump.safetensors")
        with torch.no_grad():
            note("checkpoint output", dump["model_output"], forward(trained, dump))
            worst["mean loss / error"] = mean_loss(folder)
    bounds = {"mean loss / error": 3.0, "weights": 2e-5, "trained output": 2e-4}
    for what, value in worst.items():
        print(f"{what:<18} {value:.2e}")
    return 0 if all(value <= bounds.get(what, 1e-5) for what, value in worst.items()) else 1


if __name__ == "__main__":
    sys.exit(main())
