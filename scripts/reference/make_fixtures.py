"""Writes the golden fixtures, tests/fixtures, from the reference. The tests only read them.

    pip install -r scripts/reference/requirements.txt
    python scripts/reference/make_fixtures.py
"""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from diffusers import CogView4Pipeline, FlowMatchEulerDiscreteScheduler
from diffusers.models.transformers.transformer_cogview4 import CogView4TrainingAttnProcessor
from diffusers.optimization import get_scheduler
from diffusers.pipelines.cogview4.pipeline_cogview4_control import calculate_shift, retrieve_timesteps
from PIL import Image
from safetensors.torch import save_file

import tiny

ROOT = Path(__file__).resolve().parents[2]
FIXTURES = ROOT / "tests" / "fixtures"

PIPELINES = {
    "plain": tiny.Tiny(seed=1),
    "variant": tiny.Tiny(
        seed=2,
        latent_channels=8,
        levels=(8, 16, 24),
        vae_layers=2,
        vae_groups=4,
        mid_attention=True,
        quant_conv=True,
        scaling_factor=0.7,
        layers=3,
        heads=3,
        head_dim=8,
        condition_dim=8,
        rope_axes_dim=(64, 128),
        text_width=48,
        text_layers=2,
        text_heads=4,
        text_kv_heads=1,
        attention_bias=False,
        partial_rotary_factor=1.0,
        scheduler={"time_shift_type": "exponential"},
    ),
}


def randn(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def transformer_parts(pipe) -> dict[str, torch.Tensor]:
    model = pipe.transformer
    config = model.config
    batch, seq_txt, height, width = 2, 32, 8, 12
    hidden = randn(1, batch, config.in_channels, height, width)
    text = randn(2, batch, seq_txt, config.text_embed_dim)
    timesteps = torch.tensor([1.0, 873.0])
    original, target, crop = (torch.tensor([[a, b]] * batch, dtype=torch.float32) for a, b in ((64, 96), (48, 80), (3, 5)))
    sizes = dict(original_size=original, target_size=target, crop_coords=crop)
    temb = torch.nn.functional.silu(model.time_condition_embed(timesteps, original, target, crop, torch.float32))
    cos, sin = model.rope(hidden)
    patches, tokens = model.patch_embed(hidden, text)
    block_patches, block_tokens = model.transformer_blocks[0](patches, tokens, temb, (cos, sin))
    call = dict(hidden_states=hidden, encoder_hidden_states=text, timestep=timesteps, **sizes, return_dict=False)
    output = model(**call)[0]
    # Keys of pads hidden, with the processor whose mask hides them whole.
    mask = torch.ones(batch, seq_txt, dtype=torch.int32)
    mask[0, :16] = 0
    mask[1, :3] = 0
    processors = [block.attn1.processor for block in model.transformer_blocks]
    for block in model.transformer_blocks:
        block.attn1.set_processor(CogView4TrainingAttnProcessor())
    masked = model(**call, attention_kwargs={"text_attn_mask": mask})[0]
    for block, processor in zip(model.transformer_blocks, processors):
        block.attn1.set_processor(processor)
    half = config.attention_head_dim // 2
    return {
        "dit.hidden_states": hidden,
        "dit.encoder_hidden_states": text,
        "dit.timesteps": timesteps,
        "dit.temb": temb,
        "dit.cos": cos[:, :half].contiguous(),
        "dit.sin": sin[:, :half].contiguous(),
        "dit.embed.hidden_states": patches,
        "dit.embed.encoder_hidden_states": tokens,
        "dit.block.hidden_states": block_patches,
        "dit.block.encoder_hidden_states": block_tokens,
        "dit.output": output,
        "dit.text_mask": mask.float(),
        "dit.output_masked": masked,
    }


def vae_parts(pipe) -> dict[str, torch.Tensor]:
    pixels = randn(3, 2, 3, 48, 32).clamp(-1, 1)
    posterior = pipe.vae.encode(pixels).latent_dist
    latents = randn(4, *posterior.mean.shape)
    return {
        "vae.pixels": pixels,
        "vae.mean": posterior.mean,
        "vae.logvar": posterior.logvar,
        "vae.latents": latents,
        "vae.decoded": pipe.vae.decode(latents).sample,
    }


def text_parts(pipe) -> dict[str, torch.Tensor]:
    ids = torch.tensor([[0] * 5 + [2, 4] + list(range(30, 55))])
    return {
        "glm.ids": ids.float(),
        "glm.hidden_states": pipe.text_encoder(ids, output_hidden_states=True).hidden_states[-2],
    }


def control_image(seed: int, height: int, width: int) -> Image.Image:
    """Coloured blobs with noise: soft and hard edges, no two channels alike."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(height, width, 3)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 5)
    smooth = (smooth / smooth.std() * 60 + 128 + 40 * (smooth > 0) + 6 * noise).clip(0, 255)
    return Image.fromarray(smooth.astype(np.uint8))


def end_to_end(pipe, name: str) -> None:
    folder = FIXTURES / name
    cases = [
        dict(height=64, width=96, num_inference_steps=4, guidance_scale=3.5, seed=11, num_images_per_prompt=2,
             prompt=tiny.CORPUS[2], negative_prompt="blurry", max_sequence_length=1024),
        dict(height=80, width=64, num_inference_steps=3, guidance_scale=1.0, seed=2**33 + 5, num_images_per_prompt=1,
             prompt=tiny.CORPUS[5], negative_prompt="", max_sequence_length=12),
    ]
    control = control_image(7, 90, 70)
    control.save(folder / "control.png")
    tiny.use_posterior_mean(pipe)
    tensors = {}
    for index, case in enumerate(cases):
        arguments = {key: value for key, value in case.items() if key != "seed"}
        latents = pipe(
            **arguments,
            control_image=control,
            generator=torch.Generator("cpu").manual_seed(case["seed"]),
            output_type="latent",
        ).images
        decoded = pipe.vae.decode(latents / pipe.vae.config.scaling_factor).sample
        tensors[f"{index}.latents"] = latents
        for number, picture in enumerate(pipe.image_processor.postprocess(decoded, output_type="pil")):
            picture.save(folder / f"picture-{index}-{number + 1}.png")
    save_file(tensors, folder / "latents.safetensors")
    (folder / "cases.json").write_text(json.dumps(cases, indent=1, ensure_ascii=False))


def parameters() -> None:
    """Every further parameter of the call, one a case; `cases.json` has what both sides take literally."""
    folder = FIXTURES / "parameters"
    folder.mkdir()
    pipe = tiny.build(PIPELINES["plain"])
    tiny.use_posterior_mean(pipe)
    short, other, long = tiny.CORPUS[0], tiny.CORPUS[3], tiny.CORPUS[1] + ", " + tiny.CORPUS[2]
    controls = [control_image(71, 64, 64), control_image(72, 50, 90)]
    for number, control in enumerate(controls):
        control.save(folder / f"control-{number}.png")
    common = dict(height=64, width=64, num_inference_steps=3, guidance_scale=3.5)
    cases, tensors = {}, {}

    def run(name, case, pipe=pipe, **own):
        """Runs a case; `own` is what is not literal, or what only this side needs."""
        seed = case.get("seed", 5)
        arguments = {**common, **{key: value for key, value in case.items() if key not in ("seed", "seeds")}, **own}
        arguments.setdefault("control_image", controls[0])
        if "seeds" in case:
            arguments["generator"] = [torch.Generator().manual_seed(seed) for seed in case["seeds"]]
        elif "latents" not in own:
            arguments["generator"] = torch.Generator().manual_seed(seed)
        tensors[f"{name}.latents"] = pipe(**arguments, output_type="latent").images
        cases[name] = {**common, "seed": seed, **case}

    run("prompts", dict(prompt=[short, other], negative_prompt=["blurry", "dark"], num_images_per_prompt=2),
        control_image=controls)
    # Prompts of different lengths: each is as if it were alone.
    noise = randn(5, 2, 16, 32, 32)
    parts = []
    for number, prompt in enumerate([short, long]):
        run("lengths", dict(prompt=prompt), latents=noise[number : number + 1])
        parts.append(tensors["lengths.latents"])
    tensors["lengths.latents"] = torch.cat(parts)
    cases["lengths"]["prompt"] = [short, long]
    run("timesteps", dict(prompt=short, timesteps=[990.7, 640, 300.2, 20]))
    run("sigmas", dict(prompt=short, sigmas=[1.0, 0.6, 0.25]), timesteps=[1000, 600, 250])
    run("both", dict(prompt=short, timesteps=[900, 500, 100], sigmas=[0.95, 0.5, 0.2]))
    embeds, negative = randn(81, 2, 32, 32), randn(82, 2, 16, 32)
    check, type(pipe).check_inputs = type(pipe).check_inputs, lambda *_, **__: None
    run("embeds", {}, prompt_embeds=embeds, negative_prompt_embeds=negative)
    type(pipe).check_inputs = check
    tensors.update({"embeds.prompt_embeds": embeds, "embeds.negative_prompt_embeds": negative})
    run("sizes", dict(prompt=short, original_size=[100, 200], crops_coords_top_left=[8, 24]))
    pixels = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(83))
    tensors["tensor.control_image"] = pixels
    run("tensor", dict(prompt=short), control_image=pipe.image_processor.preprocess(pixels))
    run("seeds", dict(prompt=[short, other], seeds=[3, 4]))
    run("latents", dict(prompt=short), latents=noise[1:])
    tensors["latents.noise"] = noise[1:]

    def change(pipe, step, timestep, values):
        if step == 1:
            values["latents"] = values["latents"] * 0.5
            values["negative_prompt_embeds"] = values["prompt_embeds"] * 0.25
        return values

    names = ["latents", "prompt_embeds", "negative_prompt_embeds"]
    run("callback", dict(prompt=short), callback_on_step_end=change, callback_on_step_end_tensor_inputs=names)

    def interrupt(pipe, step, timestep, values):
        pipe._interrupt = step == 1
        return values

    run("interrupt", dict(prompt=short), callback_on_step_end=interrupt)
    tensors["pixels.pixels"] = pipe(
        prompt=short, control_image=controls[0], generator=torch.Generator().manual_seed(5), output_type="pt", **common
    ).images
    cases["pixels"] = dict(common, prompt=short, seed=5)

    # The base model: the control columns of the transformer taken away.
    base = CogView4Pipeline(pipe.tokenizer, pipe.text_encoder, pipe.vae, tiny.without_control(pipe.transformer), pipe.scheduler)
    base.set_progress_bar_config(disable=True)
    base.transformer.save_pretrained(folder / "base")
    run("base", dict(prompt=[short, other], num_images_per_prompt=2), pipe=lambda control_image, **rest: base(**rest))

    pipe.vae.encode = type(pipe.vae).encode.__get__(pipe.vae)
    pipe.vae.enable_tiling()
    pixels, latents = randn(84, 1, 3, 80, 144).clamp(-1, 1), randn(85, 1, 16, 40, 72)
    tensors.update({"tiling.pixels": pixels, "tiling.mean": pipe.vae.encode(pixels).latent_dist.mean,
                    "tiling.latents": latents, "tiling.decoded": pipe.vae.decode(latents).sample})
    save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, folder / "tensors.safetensors")
    (folder / "cases.json").write_text(json.dumps(cases, indent=1, ensure_ascii=False))


def bfloat16(pipe, name: str) -> None:
    """The latents of the cases, computed in bfloat16: how far the reference itself is from f32."""
    folder = FIXTURES / name
    pipe = pipe.to(torch.bfloat16)
    tensors = {}
    for index, case in enumerate(json.loads((folder / "cases.json").read_text())):
        arguments = {key: value for key, value in case.items() if key != "seed"}
        generator = torch.Generator("cpu").manual_seed(case["seed"])
        control = Image.open(folder / "control.png")
        latents = pipe(**arguments, control_image=control, generator=generator, output_type="latent").images
        tensors[f"{index}.latents"] = latents.float()
    save_file(tensors, folder / "latents-bf16.safetensors")


def tokens(pipe, name: str) -> None:
    cases = []
    for prompt in tiny.CORPUS + ["", "x" * 40, "  two  spaces\n", "<sop> inside", "🦊 naïve"]:
        for max_length in (1024, 9):
            ids = pipe.tokenizer(prompt, max_length=max_length, truncation=True, add_special_tokens=True).input_ids
            pads = -len(ids) % 16
            cases.append(
                dict(prompt=prompt, max_sequence_length=max_length, pads=pads, ids=[pipe.tokenizer.pad_token_id] * pads + ids)
            )
    (FIXTURES / name / "tokens.json").write_text(json.dumps(cases, indent=None, ensure_ascii=False))


def schedules() -> None:
    dynamic = dict(use_dynamic_shifting=True, base_shift=0.25, max_shift=0.75, base_image_seq_len=256)
    configs = [
        dict(dynamic, time_shift_type="linear"),
        dict(dynamic, time_shift_type="exponential"),
        dict(shift=1.0),
        dict(shift=3.0),
        dict(dynamic, time_shift_type="linear", shift_terminal=0.1),
    ]
    steps = [1, 2, 3, 7, 20, 28, 50, 77, 100, 333]
    customs = [
        dict(timesteps=[1000, 750.7, 500, 1]),
        dict(sigmas=[1.0, 0.8, 0.33, 0.01]),
        dict(timesteps=[900, 500, 100], sigmas=[0.95, 0.5, 0.2]),
    ]
    cases = []
    for config in configs:
        scheduler = FlowMatchEulerDiscreteScheduler(**config)
        for seq_len in (16, 256, 1024, 4096, 9216):
            mu = calculate_shift(seq_len, 256, scheduler.config.base_shift, scheduler.config.max_shift)
            for request in [dict(steps=count) for count in steps] + customs:
                t, sigmas = request.get("timesteps"), request.get("sigmas")
                if "steps" in request:
                    t = np.linspace(1000, 1.0, request["steps"])
                if t is not None:
                    # As the pipeline does: truncated, and the noise levels follow from it.
                    t = np.array(t).astype(np.int64).astype(np.float32)
                    sigmas = t / 1000 if sigmas is None else sigmas
                else:
                    t = np.array(sigmas, np.float32) * np.float32(1000)
                retrieve_timesteps(scheduler, len(t), "cpu", t, sigmas, mu=mu)
                if seq_len not in (256, 4096) and request.get("steps", 0) > 50:
                    continue
                if "shift_terminal" in config and request.get("steps") == 1:
                    continue  # no number in the reference: 0 / 0
                cases.append(
                    dict(config=config, image_seq_len=seq_len, **request,
                         expected=dict(timesteps=scheduler.timesteps.tolist(), sigmas=scheduler.sigmas.tolist()))
                )
    (FIXTURES / "schedules.json").write_text(json.dumps(cases))


def generator_draws() -> None:
    tensors = {}
    for seed in (0, 1, 42, 123456789, 2**32 + 7):
        generator = torch.Generator("cpu").manual_seed(seed)
        # In one stream: small draws leave half a pair behind for the next small draw.
        for index, shape in enumerate([(1,), (3,), (15,), (16,), (17,), (2, 5, 7), (1, 16, 8, 12), (4,), (31,)]):
            tensors[f"{seed}.{index}"] = torch.randn(shape, generator=generator)
    save_file(tensors, FIXTURES / "randn.safetensors")


def canny() -> None:
    folder = FIXTURES / "canny"
    folder.mkdir()
    photograph = Image.open(ROOT / "assets" / "chelsea.png")
    images = {"photo": photograph, "blobs": control_image(8, 64, 192), "flat": Image.new("RGB", (64, 64), (9, 9, 9))}
    rng = np.random.default_rng(5)
    images["noise"] = Image.fromarray(rng.integers(0, 256, (128, 64, 3), np.uint8))
    cases = []
    for name, image in images.items():
        if name != "photo":
            image.save(folder / f"{name}.png")
        for low, high in ((50, 200), (100, 200), (200, 30.7), (0, 0)):
            edges = cv2.Canny(np.asarray(image), low, high)
            file = f"{name}-{low}-{high}.png"
            Image.fromarray(edges).save(folder / file)
            cases.append(dict(image=name, low=low, high=high, edges=file))
    (folder / "cases.json").write_text(json.dumps(cases, indent=1))


def canny_resized() -> None:
    """Sizes and interpolations of controlnet_aux 0.0.10 around cv2.Canny."""
    folder = FIXTURES / "canny"

    def resize(image: np.ndarray, resolution: int) -> np.ndarray:
        height, width = image.shape[:2]
        factor = resolution / min(height, width)
        size = tuple(int(np.round(side * factor / 64)) * 64 for side in (width, height))
        return cv2.resize(image, size, interpolation=cv2.INTER_LANCZOS4 if factor > 1 else cv2.INTER_AREA)

    cases = []
    for index, (height, width, detect, image_resolution) in enumerate(
        [(100, 150, 64, 64), (150, 100, 128, 128), (256, 256, 128, 128), (192, 384, 64, 128), (90, 70, 192, 64), (130, 190, 128, 192)]
    ):
        image = control_image(20 + index, height, width)
        resized = resize(np.asarray(image), detect)
        edges = np.repeat(cv2.Canny(resized, 100, 200)[..., None], 3, axis=2)
        target = resize(resized, image_resolution).shape
        edges = cv2.resize(edges, (target[1], target[0]), interpolation=cv2.INTER_LINEAR)
        image.save(folder / f"resized-{index}-input.png")
        Image.fromarray(edges).save(folder / f"resized-{index}-edges.png")
        cases.append(dict(index=index, detect_resolution=detect, image_resolution=image_resolution))
    (folder / "resized.json").write_text(json.dumps(cases, indent=1))


def pillow() -> None:
    folder = FIXTURES / "pillow"
    folder.mkdir()
    image = control_image(9, 61, 83)
    image.save(folder / "image.png")
    for width, height in ((83, 61), (64, 64), (83, 96), (200, 61), (17, 130), (166, 122), (1, 1), (64, 48), (96, 40), (80, 50), (70, 34), (70, 36), (40, 90)):
        for name, filter in (("lanczos", Image.Resampling.LANCZOS), ("bilinear", Image.Resampling.BILINEAR)):
            image.resize((width, height), filter).save(folder / f"{name}-{width}x{height}.png")


class TrainingStep:
    """Loss and gradients of one step on the pipeline `plain`, with captions of different lengths."""

    samples = 3
    lengths = torch.tensor([16, 32, 32])
    timesteps, weights = torch.tensor([1000.0, 437.0, 12.0]), torch.tensor([1.0, 0.3, 2.0])

    def __init__(self) -> None:
        self.model = tiny.build(PIPELINES["plain"]).transformer.train()
        for block in self.model.transformer_blocks:
            block.attn1.set_processor(CogView4TrainingAttnProcessor())

    def inputs(self, seed: int) -> dict[str, torch.Tensor]:
        channels = self.model.config.out_channels
        noise, latents, control = (randn(seed + index, self.samples, channels, 8, 8) for index in range(3))
        embeds = randn(seed + 3, self.samples, 32, self.model.config.text_embed_dim)
        embeds[0, :16] = 0
        mu = 0.75 * (16 / 256) ** 0.5 + 0.25
        sigmas = mu / (mu + 1 / (self.timesteps / 1000) - 1)
        noisy = (1 - sigmas.view(-1, 1, 1, 1)) * latents + sigmas.view(-1, 1, 1, 1) * noise
        return dict(noise=noise, image_latents=latents, control_latents=control, prompt_embeds=embeds, sigmas=sigmas,
                    noisy=noisy)

    def run(self, inputs: dict[str, torch.Tensor], dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor, dict]:
        size = torch.tensor([[32.0, 32.0]] * self.samples, dtype=dtype)
        model = self.model.to(dtype)
        output = model(
            hidden_states=torch.cat([inputs["noisy"], inputs["control_latents"]], dim=1).to(dtype),
            encoder_hidden_states=inputs["prompt_embeds"].to(dtype),
            timestep=self.timesteps,
            original_size=size,
            target_size=size,
            crop_coords=torch.zeros_like(size),
            attention_kwargs={"text_attn_mask": (torch.arange(32)[None] >= 32 - self.lengths[:, None]).int()},
            return_dict=False,
        )[0].float()
        errors = (output - (inputs["noise"] - inputs["image_latents"])) ** 2
        loss = (self.weights.view(-1, 1, 1, 1) * errors).flatten(1).mean(1).mean()
        model.zero_grad()
        loss.backward()
        gradients = {key: parameter.grad.float() for key, parameter in model.named_parameters()}
        return output.detach(), loss.detach().view(1), gradients


def training_step(folder: Path) -> None:
    step = TrainingStep()
    inputs = step.inputs(31)
    output, loss, gradients = step.run(inputs, torch.float32)
    tensors = dict(**inputs, timesteps=step.timesteps, weights=step.weights, prompt_lengths=step.lengths.float(),
                   model_output=output, loss=loss)
    tensors.update({f"grad.{key}": gradient for key, gradient in gradients.items()})
    save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, folder / "step.safetensors")


def training_step_bfloat16(folder: Path) -> None:
    """How far outputs and gradients in bfloat16 are from those in f32: the root of the mean square over several steps, as
    one step's distance is a matter of luck."""
    step, exact = TrainingStep(), TrainingStep()
    seeds, squares = [1000 + 10 * index for index in range(16)], {"model_output": [], "gradients": []}
    for seed in seeds:
        inputs = step.inputs(seed)
        expected, _, expected_gradients = exact.run(inputs, torch.float32)
        output, _, gradients = step.run(inputs, torch.bfloat16)
        squares["model_output"].append(((output - expected).square().sum() / expected.square().sum()).item())
        difference = sum((gradients[key] - expected_gradients[key]).square().sum() for key in gradients)
        whole = sum(gradient.square().sum() for gradient in expected_gradients.values())
        squares["gradients"].append((difference / whole).item())
    distances = {key: float(np.mean(values) ** 0.5) for key, values in squares.items()}
    (folder / "step-bf16.json").write_text(json.dumps(dict(seeds=seeds, **distances)))


def ten_steps(folder: Path) -> None:
    """Losses and gradient norms of ten steps of AdamW with clipping, each on inputs of its own."""
    step, seeds, rate, max_norm = TrainingStep(), [2000 + 10 * index for index in range(10)], 1e-3, 1.0
    model = step.model.float()
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, betas=(0.9, 0.999), weight_decay=1e-2, eps=1e-8)
    losses, norms = [], []
    for seed in seeds:
        _, loss, _ = step.run(step.inputs(seed), torch.float32)
        losses.append(loss.item())
        norms.append(torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm).item())
        optimizer.step()
    (folder / "ten_steps.json").write_text(
        json.dumps(dict(seeds=seeds, learning_rate=rate, max_grad_norm=max_norm, losses=losses, grad_norms=norms))
    )


def adamw(folder: Path) -> None:
    tensors, rates = {}, [1e-3, 5e-4, 0.0, 2e-3]
    parameter = torch.nn.Parameter(randn(41, 300))
    optimizer = torch.optim.AdamW([parameter], lr=1.0, betas=(0.9, 0.999), weight_decay=1e-2, eps=1e-8)
    tensors["start"] = parameter.detach().clone()
    for step, rate in enumerate(rates):
        parameter.grad = randn(42 + step, 300) * 10.0 ** (step - 3)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        state = optimizer.state[parameter]
        for name, tensor in dict(gradient=parameter.grad, parameter=parameter.detach(), **state).items():
            if name != "step":
                tensors[f"{step}.{name}"] = tensor.clone()
    save_file(tensors, folder / "adamw.safetensors")
    (folder / "rates.json").write_text(json.dumps(rates))


def lr_schedules(folder: Path) -> None:
    cases = []
    for name in ("linear", "cosine", "cosine_with_restarts", "polynomial", "constant", "constant_with_warmup"):
        for warmup, total, cycles, power in ((0, 20, 1, 1.0), (5, 20, 3, 2.0), (7, 9, 2, 0.5)):
            optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=3e-4)
            schedule = get_scheduler(
                name, optimizer, num_warmup_steps=warmup, num_training_steps=total, num_cycles=cycles, power=power
            )
            rates = []
            for _ in range(total + 3):
                rates.append(schedule.get_last_lr()[0])
                optimizer.step()
                schedule.step()
            cases.append(dict(scheduler=name, warmup_steps=warmup, total=total, num_cycles=cycles, power=power, rates=rates))
    (folder / "lr_schedules.json").write_text(json.dumps(cases))


def data_sets(folder: Path) -> None:
    """The same four rows in the form of Hugging Face's parquet, with two row groups, packed by zstd, and with paths."""
    pictures = {name: (folder / name) for index in range(4) for name in (f"{index}.png", f"{index}-edges.png")}
    for index, path in enumerate(pictures.values()):
        control_image(60 + index, 32, 48).save(path)
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    columns = {
        "image": pa.array([dict(bytes=pictures[f"{i}.png"].read_bytes(), path=f"{i}.png") for i in range(4)], image),
        "conditioning_image": pa.array(
            [dict(bytes=pictures[f"{i}-edges.png"].read_bytes(), path=None) for i in range(4)], image
        ),
        "text": pa.array([f"caption {i}" for i in range(4)]),
    }
    pq.write_table(pa.table(columns), folder / "bytes.parquet", row_group_size=3)
    pq.write_table(pa.table(columns).slice(0, 2), folder / "zstd.parquet", compression="zstd")
    columns["image"] = pa.array([f"{i}.png" for i in range(4)])
    columns["conditioning_image"] = pa.array([dict(bytes=None, path=f"{i}-edges.png") for i in range(4)], image)
    columns["text"] = pa.array([["caption " + str(i), "another"] for i in range(4)])
    pq.write_table(pa.table(columns), folder / "paths.parquet", compression="gzip")


def training() -> None:
    folder = FIXTURES / "training"
    folder.mkdir()
    with torch.enable_grad():
        training_step(folder)
        training_step_bfloat16(folder)
        ten_steps(folder)
        adamw(folder)
    lr_schedules(folder)
    data_sets(folder)


@torch.no_grad()
def main() -> None:
    shutil.rmtree(FIXTURES, ignore_errors=True)
    FIXTURES.mkdir(parents=True)
    for name, sizes in PIPELINES.items():
        pipe = tiny.build(sizes)
        sharded = name == "variant"
        tiny.save(pipe, FIXTURES / name, "100KB" if sharded else "10GB")
        if sharded:
            tiny.downgrade_text_config(FIXTURES / name)
        parts = {**transformer_parts(pipe), **vae_parts(pipe), **text_parts(pipe)}
        save_file({key: part.contiguous() for key, part in parts.items()}, FIXTURES / name / "parts.safetensors")
        tokens(pipe, name)
        end_to_end(pipe, name)
        bfloat16(pipe, name)
    parameters()
    schedules()
    generator_draws()
    canny()
    canny_resized()
    pillow()
    training()


if __name__ == "__main__":
    main()
