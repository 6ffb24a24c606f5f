//! The released sizes, on machines that are not there.

use burn::tensor::Device;
use cogview4_model::{
    AutoencoderKlConfig, CogView4TransformerConfig, DeviceSpec, FlowMatchEulerSchedulerConfig, GlmConfig, GlmModel,
    weights::parameter_shapes,
};
use serde_json::json;

use super::*;

const GB: u64 = 1_000_000_000;
/// Values of a block of the transformer, and of a layer of the text encoder: matrices, and all else.
const BLOCK: [u64; 2] = [(512 * 12 + 4 * 4096 + 2 * 4 * 4096) * 4096, (12 + 4 + 4 + 1) * 4096];
const LAYER: [u64; 2] = [(2 * 4096 + 2 * 256 + 3 * 13_696) * 4096, 4096 + 2 * 256 + 2 * 4096];

fn configs() -> PipelineConfigs {
    let vae = json!({
        "block_out_channels": [128, 512, 1024, 1024],
        "layers_per_block": 3,
        "latent_channels": 16,
        "mid_block_add_attention": false,
        "use_quant_conv": false,
        "use_post_quant_conv": false,
        "sample_size": 1024,
    });
    PipelineConfigs {
        scheduler: FlowMatchEulerSchedulerConfig::default(),
        text_encoder: GlmConfig {
            vocab_size: 151_552,
            hidden_size: 4096,
            intermediate_size: 13_696,
            num_hidden_layers: 40,
            num_attention_heads: 32,
            num_key_value_heads: 2,
            head_dim: 128,
            attention_bias: true,
            rms_norm_eps: 1e-6,
            rope_theta: 10_000.0,
            partial_rotary_factor: 0.5,
        },
        vae: serde_json::from_value::<AutoencoderKlConfig>(vae).expect("a configuration"),
        transformer: CogView4TransformerConfig {
            in_channels: 32,
            num_layers: 28,
            num_attention_heads: 32,
            attention_head_dim: 128,
            ..CogView4TransformerConfig::default()
        },
    }
}

fn stored(shapes: Vec<(String, Vec<usize>)>) -> ComponentWeights {
    let tensors = shapes.into_iter().map(|(key, shape)| StoredTensor { key, dtype: "BF16".into(), shape });
    ComponentWeights { tensors: tensors.collect(), files: Vec::new() }
}

fn weights(configs: &PipelineConfigs) -> PipelineWeights {
    let device = Device::default();
    // The files have the last layer too.
    let all = GlmConfig { num_hidden_layers: 41, ..configs.text_encoder.clone() };
    PipelineWeights {
        transformer: stored(parameter_shapes(&configs.transformer.init(&device))),
        text_encoder: stored(parameter_shapes(&GlmModel::init(&all, &device))),
        vae: stored(parameter_shapes(&configs.vae.init(&device))),
    }
}

fn machine(available: u64) -> Machine {
    let rates = Rates { products: 180e9, convolutions: 60e9 };
    Machine {
        available_bytes: Some(available),
        held_bytes: 30_000_000,
        threads: 2,
        rates: [ComputeDtype::Float32, ComputeDtype::BFloat16].map(|dtype| (dtype, rates)).into(),
        read_rate: Some(1e9),
    }
}

fn task(side: usize) -> DrawingTask {
    DrawingTask {
        size: [side; 2],
        images: 1,
        controls: 1,
        prompts: vec![64, 16],
        tokens: (64, Some(16)),
        steps: 20,
        decodes: true,
    }
}

fn planner(available: u64, side: usize) -> Planner {
    let configs = configs();
    let weights = weights(&configs);
    Planner::new(configs, weights, task(side), machine(available))
}

fn bfloat16() -> DrawingSettings {
    DrawingSettings { dtype: ComputeDtype::BFloat16, ..DrawingSettings::default() }
}

#[track_caller]
fn part(plan: &DrawingPlan, stage: &str, name: &str) -> u64 {
    let stage = plan.stages.iter().find(|found| found.name == stage).expect("the stage");
    stage.parts.iter().filter(|part| part.name == name).map(|part| part.bytes).sum()
}

#[test]
fn weights_are_mapped_where_their_type_is_that_of_the_computation() {
    let planner = planner(100 * GB, 512);
    let blocks = 28 * (BLOCK[0] + BLOCK[1]);
    let mapped = planner.plan(&bfloat16());
    let transformer = part(&mapped, "denoise", "transformer, mapped");
    assert_eq!(part(&mapped, "load", "transformer"), 0);
    let outside = transformer - 2 * blocks;
    assert!((40_000_000..60_000_000).contains(&outside), "patches, conditioning, output: {outside}");
    // The last layer, the final norm and the embedding are not there.
    assert_eq!(part(&mapped, "text", "text encoder, mapped"), 2 * 39 * (LAYER[0] + LAYER[1]));
    assert_eq!(part(&mapped, "denoise", "text encoder, mapped"), 0);

    let copied = planner.plan(&DrawingSettings::default());
    for stage in ["load", "decode"] {
        assert_eq!(part(&copied, stage, "transformer"), 2 * transformer, "{stage}");
        assert_eq!(part(&copied, stage, "text encoder"), 4 * 39 * (LAYER[0] + LAYER[1]), "{stage}");
    }
    assert_eq!(copied.peak_host_bytes(), copied.peak_total_bytes());
    assert!(mapped.peak_host_bytes() < 3 * GB && copied.peak_host_bytes() > 55 * GB);
}

#[test]
fn matrices_of_blocks_may_be_bytes() {
    let planner = planner(100 * GB, 512);
    let plan = planner.plan(&DrawingSettings { weights: WeightStorage::Int8, ..bfloat16() });
    let block = BLOCK[0] + BLOCK[0] / 16;
    assert_eq!(part(&plan, "load", "transformer"), 28 * block);
    assert_eq!(part(&plan, "load", "text encoder"), 39 * (LAYER[0] + LAYER[0] / 16));
    // Biases stay mapped.
    assert!(part(&plan, "denoise", "transformer, mapped") > 2 * 28 * BLOCK[1]);

    // From files that hold bytes already, all of it is mapped.
    let mut weights = weights(&configs());
    let matrices = weights.transformer.tensors.clone().into_iter();
    for matrix in matrices.filter(|tensor| tensor.key.starts_with("transformer_blocks.") && tensor.shape.len() == 2) {
        let [rows, columns] = [matrix.shape[0], matrix.shape[1]];
        let tensor = weights.transformer.tensors.iter_mut().find(|tensor| tensor.key == matrix.key);
        tensor.expect("the same").dtype = "I8".into();
        let (key, shape) = (format!("{}.scale", matrix.key), vec![rows, columns / 32]);
        weights.transformer.tensors.push(StoredTensor { key, dtype: "F16".into(), shape });
    }
    let planner = Planner::new(configs(), weights, task(512), machine(100 * GB));
    let ready = planner.plan(&DrawingSettings { weights: WeightStorage::Int8, ..bfloat16() });
    assert_eq!(part(&ready, "load", "transformer"), 0);
    let more = part(&ready, "denoise", "transformer, mapped") - part(&plan, "denoise", "transformer, mapped");
    assert_eq!(more, 28 * block);
}

#[test]
fn two_blocks_are_streamed_and_gone_after_their_stage() {
    let planner = planner(100 * GB, 512);
    let plan = planner.plan(&DrawingSettings { placement: Placement::Streamed, ..bfloat16() });
    assert_eq!(part(&plan, "denoise", "transformer, streamed"), 2 * 2 * (BLOCK[0] + BLOCK[1]));
    assert_eq!(part(&plan, "text", "text encoder, streamed"), 2 * 2 * (LAYER[0] + LAYER[1]));
    for stage in ["load", "control image", "decode"] {
        let streamed = part(&plan, stage, "transformer, streamed") + part(&plan, stage, "text encoder, streamed");
        assert_eq!(streamed, 0, "{stage}");
    }
    assert_eq!(part(&plan, "denoise", "text encoder, streamed"), 0);
    assert_eq!(plan.resident_blocks, [0, 0]);
    let whole = planner.plan(&DrawingSettings { placement: Placement::Streamed, ..DrawingSettings::default() });
    assert_eq!(part(&whole, "denoise", "transformer, streamed"), 2 * 4 * (BLOCK[0] + BLOCK[1]));
}

#[test]
fn a_budget_is_used_up() {
    let planner = planner(100 * GB, 512);
    let with = |budget| planner.plan(&DrawingSettings { placement: Placement::Budget(budget), ..bfloat16() });
    let block = 2 * (BLOCK[0] + BLOCK[1]);
    let mut before = 0;
    for budget in [4, 8, 12, 16].map(|budget| budget * GB) {
        let plan = with(budget);
        let [transformer, text] = plan.resident_blocks;
        assert!(plan.fits() && plan.peak_total_bytes() <= budget, "{budget}");
        assert!(transformer >= before && (transformer == 28 || text == 0), "the transformer's come first");
        assert!(transformer == 28 || plan.peak_total_bytes() + block > budget, "{budget}: one more had fit");
        before = transformer;
    }
    let all = with(60 * GB);
    assert_eq!(all.resident_blocks, [28, 39]);
    assert_eq!(all.peak_host_bytes(), planner.plan(&bfloat16()).peak_host_bytes(), "nothing is streamed");
    let small = with(GB);
    assert!(!small.fits() && small.resident_blocks == [0, 0]);
    assert!(planner.refusal(&small).contains("1.00 GB are allowed"), "{}", planner.refusal(&small));
}

#[test]
fn what_is_drawn_decides_what_is_held() {
    let [small, large, larger] = [512, 1024, 2048].map(|side| planner(100 * GB, side).plan(&bfloat16()));
    // Each tensor of a picture is four times as large; text and filters are not, which counts in small pictures.
    for (stage, least) in [("denoise", 3.5), ("decode", 3.7), ("control image", 3.6)] {
        let ratio = part(&larger, stage, "activations") as f64 / part(&large, stage, "activations") as f64;
        assert!((least..4.0).contains(&ratio), "{stage}: {ratio}");
    }
    let tiled = planner(100 * GB, 1024).plan(&DrawingSettings { vae_tile: Some(512), ..bfloat16() });
    let ratio = part(&tiled, "decode", "activations") as f64 / part(&small, "decode", "activations") as f64;
    assert!((1.0..1.1).contains(&ratio), "a tile of 512, and the picture: {ratio}");

    let configs = configs();
    let weights = weights(&configs);
    let plan = |task| Planner::new(configs.clone(), weights.clone(), task, machine(100 * GB)).plan(&bfloat16());
    let unguided = plan(DrawingTask { tokens: (64, None), prompts: vec![64], ..task(512) });
    let ratio = part(&small, "denoise", "activations") as f64 / part(&unguided, "denoise", "activations") as f64;
    assert!((1.9..2.0).contains(&ratio), "both branches at once: {ratio}");
    let latents = plan(DrawingTask { decodes: false, controls: 0, prompts: Vec::new(), ..task(512) });
    assert_eq!(latents.stages.iter().map(|stage| stage.name).collect::<Vec<_>>(), ["load", "denoise"]);
}

#[test]
fn a_device_has_its_own_memory() {
    let plan = planner(GB, 512).plan(&DrawingSettings { device: DeviceSpec::Cuda(0), ..bfloat16() });
    assert!(plan.peak_device_bytes() > 30 * GB, "{}", plan.peak_device_bytes());
    assert!(plan.peak_total_bytes() < GB / 10 && plan.fits());
}

#[test]
fn the_cheapest_that_fits_changes_least() {
    let flags = |available: u64, side: usize, settings: DrawingSettings| {
        let cheapest = planner(available * GB, side).cheapest(&settings);
        cheapest.map(|plan| plan.settings.flags().join(" "))
    };
    let float32 = DrawingSettings::default();
    // Where all fits, nothing is changed.
    assert_eq!(flags(100, 512, float32).as_deref(), Some(""));
    assert_eq!(flags(40, 512, bfloat16()).as_deref(), Some("--dtype bfloat16"));
    // Where it does not: the disk is fast enough, so streaming costs nothing.
    assert_eq!(flags(24, 512, float32).as_deref(), Some("--offload"));
    assert_eq!(flags(6, 512, bfloat16()).as_deref(), Some("--dtype bfloat16 --offload"));
    // A large picture does not fit through the decoder in one piece.
    assert_eq!(flags(6, 1024, float32).as_deref(), Some("--offload --vae_tiling 512"));
    // The number type is changed only where nothing else helps.
    let planner = planner(2 * GB, 512);
    let cheapest = planner.cheapest(&float32).expect("a plan");
    assert_eq!(cheapest.settings.dtype, ComputeDtype::BFloat16);
    let words = planner.verdict(&planner.plan(&float32), Some(&cheapest));
    assert!(words.contains("it does not fit: ") && words.contains("as nothing fits with float32"), "{words}");
    // Nor is it given up what was asked for.
    let offload = DrawingSettings { placement: Placement::Streamed, ..bfloat16() };
    assert_eq!(flags(100, 512, offload).as_deref(), Some("--dtype bfloat16 --offload"));
}

#[test]
fn what_is_much_faster_wins() {
    let fast = |read_rate| {
        let mut planner = planner(14 * GB, 512);
        let rates = Rates { products: 4e12, convolutions: 1e12 };
        planner.machine.rates = vec![(ComputeDtype::BFloat16, rates)];
        planner.machine.read_rate = Some(read_rate);
        planner.cheapest(&bfloat16()).expect("a plan").settings
    };
    assert_eq!(fast(20e9).placement, Placement::Streamed);
    // A slow disk: what is kept in memory need not be read in each step.
    let kept = fast(0.2e9);
    assert!(matches!(kept.placement, Placement::Budget(_)) || kept.weights == WeightStorage::Int8, "{kept:?}");
}

#[test]
fn nothing_fits_a_tiny_machine() {
    let planner = planner(GB / 2, 512);
    assert_eq!(planner.cheapest(&bfloat16()), None);
    let refusal = planner.refusal(&planner.plan(&bfloat16()));
    assert!(refusal.contains("0.53 GB are to be had; nothing fits, the least is `--dtype bfloat16"), "{refusal}");
    assert!(!refusal.contains('\n'));
    let limited = self::planner(100 * GB, 512).within(GB / 2);
    assert!(limited.cheapest(&bfloat16()).is_none() && !limited.plan(&bfloat16()).fits());
}

#[test]
fn programs_read_what_people_read() {
    let planner = planner(24 * GB, 512);
    let plan = planner.plan(&DrawingSettings::default());
    let cheapest = planner.cheapest(&plan.settings);
    let json = planner.json(&plan, cheapest.as_ref());
    assert_eq!(json["peak_host_bytes"], plan.peak_host_bytes());
    assert_eq!((json["fits"].as_bool(), json["flags"][0].as_str()), (Some(false), Some("--offload")));
    assert_eq!(planner.json(&plan, None)["flags"], serde_json::Value::Null);
    let table = planner.table(&plan);
    for text in
        ["512x512, 20 steps with guidance, float32 on flex", "denoise", "text encoder", "at most", "180 GFLOP/s"]
    {
        assert!(table.contains(text), "{text}: {table}");
    }
}
