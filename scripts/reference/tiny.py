"""Small CogView4 Control pipelines with random weights, in diffusers layout."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    CogView4ControlPipeline,
    CogView4Transformer2DModel,
    FlowMatchEulerDiscreteScheduler,
)
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from transformers import GlmConfig, GlmModel, PreTrainedTokenizerFast
from transformers.utils.logging import disable_progress_bar

disable_progress_bar()

SPECIAL_TOKENS = ["<|endoftext|>", "[MASK]", "[gMASK]", "[sMASK]", "<sop>", "<eop>"]
# The pattern by which GLM-4 parts a text before merging bytes.
GLM4_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CORPUS = [
    "a cat with green eyes, close-up photograph",
    "an astronaut riding a horse on the moon, oil painting",
    "a red fox in the snow; a blue bird on a branch",
    "low quality, blurry, deformed",
    "Ein Haus am See im Herbst, Aquarell",
    "一只在雪地里的狐狸",
]


@dataclass
class Tiny:
    """Sizes of a small pipeline; the defaults are those of the first fixture."""

    seed: int = 0
    latent_channels: int = 16
    levels: tuple = (16, 32)
    vae_layers: int = 1
    vae_groups: int = 8
    mid_attention: bool = False
    quant_conv: bool = False
    scaling_factor: float = 1.0
    layers: int = 2
    heads: int = 4
    head_dim: int = 16
    time_embed_dim: int = 32
    condition_dim: int = 16
    sample_size: int = 16
    rope_axes_dim: tuple = (256, 256)
    text_width: int = 32
    text_layers: int = 3
    text_heads: int = 4
    text_kv_heads: int = 2
    attention_bias: bool = True
    partial_rotary_factor: float = 0.5
    scheduler: dict = field(default_factory=dict)


def tokenizer(size: int = 400) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer built as GLM-4's, trained on a few sentences."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(__import__("tokenizers").Regex(GLM4_SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=SPECIAL_TOKENS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(CORPUS * 2, trainer)
    ids = [(token, core.token_to_id(token)) for token in ("[gMASK]", "<sop>")]
    core.post_processor = processors.Sequence(
        [
            processors.ByteLevel(trim_offsets=False),
            processors.TemplateProcessing(
                single="[gMASK]:0 <sop>:0 $A:0", pair="[gMASK]:0 <sop>:0 $A:0 $B:1", special_tokens=ids
            ),
        ]
    )
    return PreTrainedTokenizerFast(tokenizer_object=core, pad_token="<|endoftext|>", padding_side="left")


def spread_weights(module: torch.nn.Module, seed: int) -> None:
    """Makes every parameter matter: norms and biases too, none of them 0 or 1."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in sorted(module.named_parameters()):
        noise = torch.randn(parameter.shape, generator=generator)
        if parameter.dim() > 1:
            fan_in = parameter[0].numel()
            parameter.data = noise / fan_in**0.5
        elif "norm" in name and name.endswith("weight"):
            parameter.data = 1 + 0.2 * noise
        else:
            parameter.data = 0.1 * noise


def build(tiny: Tiny) -> CogView4ControlPipeline:
    """The pipeline, in f32 on the CPU."""
    torch.manual_seed(tiny.seed)
    levels = len(tiny.levels)
    vae = AutoencoderKL(
        block_out_channels=tiny.levels,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        layers_per_block=tiny.vae_layers,
        latent_channels=tiny.latent_channels,
        norm_num_groups=tiny.vae_groups,
        sample_size=64,
        scaling_factor=tiny.scaling_factor,
        shift_factor=0.0,
        use_quant_conv=tiny.quant_conv,
        use_post_quant_conv=tiny.quant_conv,
        mid_block_add_attention=tiny.mid_attention,
    )
    tokens = tokenizer()
    text_encoder = GlmModel(
        GlmConfig(
            vocab_size=len(tokens),
            hidden_size=tiny.text_width,
            intermediate_size=2 * tiny.text_width,
            num_hidden_layers=tiny.text_layers,
            num_attention_heads=tiny.text_heads,
            num_key_value_heads=tiny.text_kv_heads,
            head_dim=tiny.text_width // tiny.text_heads,
            partial_rotary_factor=tiny.partial_rotary_factor,
            attention_bias=tiny.attention_bias,
            pad_token_id=tokens.pad_token_id,
            eos_token_id=[tokens.pad_token_id],
        )
    )
    transformer = CogView4Transformer2DModel(
        patch_size=2,
        in_channels=2 * tiny.latent_channels,
        out_channels=tiny.latent_channels,
        num_layers=tiny.layers,
        attention_head_dim=tiny.head_dim,
        num_attention_heads=tiny.heads,
        text_embed_dim=tiny.text_width,
        time_embed_dim=tiny.time_embed_dim,
        condition_dim=tiny.condition_dim,
        sample_size=tiny.sample_size,
        rope_axes_dim=tiny.rope_axes_dim,
    )
    scheduler = FlowMatchEulerDiscreteScheduler(
        **{
            "use_dynamic_shifting": True,
            "time_shift_type": "linear",
            "base_shift": 0.25,
            "max_shift": 0.75,
            "base_image_seq_len": 256,
            **tiny.scheduler,
        }
    )
    for offset, module in enumerate((vae, text_encoder, transformer)):
        spread_weights(module, 1000 * tiny.seed + offset)
    pipe = CogView4ControlPipeline(tokens, text_encoder.eval(), vae.eval(), transformer.eval(), scheduler)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def without_control(transformer: CogView4Transformer2DModel) -> CogView4Transformer2DModel:
    """The base model of a control model: the columns of the control latents are left out."""
    config = dict(transformer.config, in_channels=transformer.config.in_channels // 2)
    base = CogView4Transformer2DModel.from_config(config).eval()
    weights = transformer.state_dict()
    key = "patch_embed.proj.weight"
    weights[key] = weights[key][:, : weights[key].shape[1] // 2].clone()
    base.load_state_dict(weights)
    return base


def use_posterior_mean(pipe: CogView4ControlPipeline) -> None:
    """diffusers draws control latents from the global generator; the mean is what can be compared."""
    encode = pipe.vae.encode

    def encode_to_mean(*args, **kwargs):
        output = encode(*args, **kwargs)
        output.latent_dist.sample = lambda *_, **__: output.latent_dist.mode()
        return output

    pipe.vae.encode = encode_to_mean


def save(pipe: CogView4ControlPipeline, folder: Path, transformer_shard_size: str = "10GB") -> None:
    """Writes the pipeline; GLM's configuration keeps its f32 type, so that it is loaded as such."""
    pipe.save_pretrained(folder)
    if transformer_shard_size != "10GB":
        for file in (folder / "transformer").glob("*.safetensors"):
            file.unlink()
        pipe.transformer.save_pretrained(folder / "transformer", max_shard_size=transformer_shard_size)


def downgrade_text_config(folder: Path) -> None:
    """Rewrites the text encoder's configuration in the form of transformers 4.x."""
    path = folder / "text_encoder" / "config.json"
    config = json.loads(path.read_text())
    rope = config.pop("rope_parameters")
    config["rope_theta"] = rope["rope_theta"]
    config["partial_rotary_factor"] = rope["partial_rotary_factor"]
    config["torch_dtype"] = config.pop("dtype", "float32")
    path.write_text(json.dumps(config, indent=2))
