//! What is counted against what the process is seen to hold. A program of its own, as nothing else may allocate; sizes
//! are such that little is computed for what is held, and that the allocator keeps little of what was freed.

#![cfg(target_os = "linux")]

use burn::tensor::{Device, Distribution, Tensor};
use cogview4_model::{
    AutoencoderKlConfig, CogView4TransformerConfig, ComputeDtype, GlmConfig, GlmModel,
    activations::{ActivationSettings, Cost, SequenceLengths},
    memory::{MemoryMeter, anonymous_bytes},
    transformer::{SizeConditions, TransformerInputs},
    weights::cast_parameters,
};

/// Part by which the two may differ. In half the size, tensors are small enough for the allocator to keep.
const TOLERANCE: [(ComputeDtype, f64); 2] = [(ComputeDtype::Float32, 0.1), (ComputeDtype::BFloat16, 0.2)];

/// Times that something is looked at, at most.
const ATTEMPTS: usize = 6;

/// `prepare` makes the inputs, and what it gives computes with them.
#[track_caller]
fn agrees<T, F: FnOnce() -> T>(what: &str, settings: ActivationSettings, cost: Cost, prepare: impl Fn() -> F) {
    let allowed = TOLERANCE.into_iter().find(|(dtype, _)| *dtype == settings.dtype).expect("a type").1;
    let mut found = 0;
    // The meter looks now and then, and on a machine that is busy misses moments: what it missed is seen another time.
    for _ in 0..ATTEMPTS {
        let function = prepare();
        let before = anonymous_bytes();
        let meter = MemoryMeter::start();
        let kept = function();
        found = found.max(meter.peak() - before);
        drop(kept);
        if (found as f64 / cost.bytes as f64 - 1.0).abs() < allowed {
            break;
        }
    }
    let ratio = found as f64 / cost.bytes as f64;
    let figures = format!("{what} in {}: {found} bytes, counted {}: {ratio:.3}", settings.dtype, cost.bytes);
    assert!((ratio - 1.0).abs() < allowed, "{figures}");
    eprintln!("{figures}");
}

fn transformer(settings: ActivationSettings, device: &Device) {
    let dtype = settings.dtype.dtype();
    let config = CogView4TransformerConfig {
        num_layers: 1,
        num_attention_heads: 1,
        attention_head_dim: 128,
        text_embed_dim: 64,
        ..CogView4TransformerConfig::default()
    };
    let model = cast_parameters(config.init(device), dtype);
    let (batch, seq_txt, side) = (72, 16, 64);
    let lengths = SequenceLengths { batch, seq_txt, seq_img: side * side / 4 };
    let random = |shape: [usize; 4]| Tensor::<4>::random(shape, Distribution::Default, (device, dtype));
    agrees("transformer", settings, config.activations(lengths, settings), || {
        let (hidden_states, text) = (random([batch, 16, side, side]), random([1, batch, seq_txt, 64]));
        let (model, timesteps) = (&model, vec![500.0; batch]);
        move || {
            model.forward(TransformerInputs {
                hidden_states,
                encoder_hidden_states: text.squeeze(),
                timesteps: &timesteps,
                sizes: &vec![SizeConditions::uncropped(512, 512); batch],
                hidden_text: None,
            })
        }
    });
}

fn text_encoder(settings: ActivationSettings, device: &Device) {
    let config = GlmConfig {
        vocab_size: 16,
        hidden_size: 64,
        intermediate_size: 16_384,
        num_hidden_layers: 2,
        num_attention_heads: 1,
        num_key_value_heads: 1,
        head_dim: 64,
        attention_bias: true,
        rms_norm_eps: 1e-6,
        rope_theta: 10_000.0,
        partial_rotary_factor: 0.5,
    };
    let model = cast_parameters(GlmModel::init(&config, device), settings.dtype.dtype());
    let tokens = vec![1; 1024];
    agrees("text encoder", settings, config.activations(tokens.len(), settings), || || model.forward(&tokens));
}

fn autoencoder(settings: ActivationSettings, device: &Device) {
    let config = serde_json::json!({
        "block_out_channels": [16, 32, 32, 32],
        "layers_per_block": 1,
        "latent_channels": 16,
        "mid_block_add_attention": false,
        "norm_num_groups": 8,
        "use_quant_conv": false,
        "use_post_quant_conv": false,
    });
    let config: AutoencoderKlConfig = serde_json::from_value(config).expect("a configuration");
    let dtype = settings.dtype.dtype();
    let model = cast_parameters(config.init(device), dtype);
    let size = [768, 896];
    let random = |channels, scale: usize| {
        let shape = [1, channels, size[0] / scale, size[1] / scale];
        Tensor::<4>::random(shape, Distribution::Default, (device, dtype))
    };
    agrees("decoder", settings, config.decode_activations(size, None, settings), || {
        let latents = random(16, 8);
        let model = &model;
        move || model.decode(latents)
    });
    agrees("encoder", settings, config.encode_activations(size, None, settings), || {
        let pixels = random(3, 1);
        let model = &model;
        move || model.encode(pixels)
    });
}

#[test]
fn what_is_counted_is_held() {
    let device = Device::flex();
    let [float32, bfloat16] = [ComputeDtype::Float32, ComputeDtype::BFloat16].map(ActivationSettings::new);
    transformer(float32, &device);
    text_encoder(float32, &device);
    for settings in [float32, bfloat16] {
        autoencoder(settings, &device);
    }
}
