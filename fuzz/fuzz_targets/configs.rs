//! The configurations of a pipeline, and the plan that is counted from them: `model_index.json`, then those of
//! transformer, autoencoder, text encoder and scheduler. A part that is empty or not there is that of a whole pipeline.
#![no_main]

use cogview4_control_pipeline::{
    InputChannels, PipelineFolder,
    plan::{DrawingSettings, DrawingTask, Machine, PipelineWeights, Placement, Planner, Rates, WeightStorage},
};
use cogview4_fuzz::{Scratch, parts, said, target};
use cogview4_model::{ComputeDtype, FlowMatchEulerScheduler, scheduler::StepSchedule};

macro_rules! whole {
    ($path:literal) => {
        ($path, include_bytes!(concat!("../../tests/fixtures/plain/", $path)))
    };
}

const FILES: [(&str, &[u8]); 5] = [
    whole!("model_index.json"),
    whole!("transformer/config.json"),
    whole!("vae/config.json"),
    whole!("text_encoder/config.json"),
    whole!("scheduler/scheduler_config.json"),
];

target!(read);

fn read(data: &[u8]) {
    let (folder, parts) = (Scratch::new(), parts(data, FILES.len()));
    for (number, (name, whole)) in FILES.into_iter().enumerate() {
        folder.write(name, parts.get(number).filter(|part| !part.is_empty()).unwrap_or(&whole));
    }
    let pipeline = PipelineFolder::new(folder.path());
    let Some(configs) = said(pipeline.read_configs(InputChannels::BaseOrControl)) else { return };
    for steps in [1, 20, 1000] {
        said(FlowMatchEulerScheduler::new(&configs.scheduler, &StepSchedule::Steps(steps), 4096));
    }
    let rates = Rates { products: 180e9, convolutions: 60e9 };
    let machine = Machine {
        available_bytes: Some(16 << 30),
        held_bytes: 30 << 20,
        threads: 2,
        rates: [ComputeDtype::Float32, ComputeDtype::BFloat16].map(|dtype| (dtype, rates)).into(),
        read_rate: Some(1e9),
    };
    let task = DrawingTask::of_default_size(&configs, true);
    let planner = Planner::new(configs, PipelineWeights::default(), task, machine);
    let small = DrawingSettings {
        dtype: ComputeDtype::BFloat16,
        weights: WeightStorage::Int8,
        placement: Placement::Streamed,
        ..DrawingSettings::default()
    };
    for settings in [DrawingSettings::default(), small] {
        let plan = planner.plan(&settings);
        planner.table(&plan);
        planner.verdict(&plan, planner.cheapest(&settings).as_ref());
        planner.json(&plan, None).to_string();
    }
}
