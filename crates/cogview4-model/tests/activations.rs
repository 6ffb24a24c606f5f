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

#[track_caller]
fn agrees<T>(what: &str, settings: ActivationSettings, cost: Cost, function: impl FnOnce() -> T) {
    let before = anonymous_bytes();
    let meter = MemoryMeter::start();
    let kept = function();
    let found = meter.peak() - before;
    drop(kept);
    let ratio = found as f64 / cost.bytes as f64;
    let figures = format!("{what} in {}: {found} bytes, counted {}: {ratio:.3}", settings.dtype, cost.bytes);
    let allowed = TOLERANCE.into_iter().find(|(dtype, _)| *dtype == settings.dtype).expect("a type").1;
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
    let (hidden_states, text) = (random([batch, 16, side, side]), random([1, batch, seq_txt, 64]));
    agrees("transformer", settings, config.activations(lengths, settings), || {
        model.forward(TransformerInputs {
            hidden_states,
            encoder_hidden_states: text.squeeze(),
            timesteps: &vec![500.0; batch],
            sizes: &vec![SizeConditions::uncropped(512, 512); batch],
            hidden_text: None,
        })
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
    agrees("text encoder", settings, config.activations(tokens.len(), settings), || model.forward(&tokens));
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
    let (latents, pixels) = (random(16, 8), random(3, 1));
    agrees("decoder", settings, config.decode_activations(size, None, settings), || model.decode(latents));
    agrees("encoder", settings, config.encode_activations(size, None, settings), || model.encode(pixels));
}

/// Lets the allocator give back what is freed: by its defaults it keeps up to 64 MB for what comes next, which then seems
/// to take nothing, in some processes and not in others.
#[cfg(target_env = "gnu")]
fn return_freed_memory() {
    #[expect(unsafe_code, reason = "the C library's settings")]
    // SAFETY: takes two numbers, and may be called at any time.
    let is_set = unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, 1 << 20) };
    assert_eq!(is_set, 1);
}

#[cfg(not(target_env = "gnu"))]
fn return_freed_memory() {}

#[test]
fn what_is_counted_is_held() {
    return_freed_memory();
    let device = Device::flex();
    let [float32, bfloat16] = [ComputeDtype::Float32, ComputeDtype::BFloat16].map(ActivationSettings::new);
    transformer(float32, &device);
    text_encoder(float32, &device);
    for settings in [float32, bfloat16] {
        autoencoder(settings, &device);
    }
}
