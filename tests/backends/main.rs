//! The same tests on every backend that is compiled in and present; what is skipped is said, with the reason.
//! `cargo test --test backends --features libtorch -- libtorch` runs one backend; one that is asked for must be there.
//! With `LIBTORCH_OWN_KERNELS=1` in the environment, libtorch computes on the CPU as it does on a GPU.

#![expect(clippy::unwrap_used, reason = "a test that fails may panic")]

mod backend;
mod ops;
mod optimizer;
mod parity;
#[path = "../suite/support.rs"]
#[allow(dead_code, reason = "shared with the suite")]
mod support;
mod training;

use std::process::ExitCode;

use cogview4::model::DeviceSpec;
use libtest_mimic::{Arguments, Trial};

use crate::backend::Backend;

/// A test: its name and its body.
type Test = (&'static str, fn(&Backend));

/// Names and bodies of tests.
macro_rules! tests {
    ($($module:ident::$name:ident),* $(,)?) => {
        &[$((concat!(stringify!($module), "::", stringify!($name)), $module::$name as fn(&Backend))),*]
    };
}

const OPS: &[Test] = tests![
    ops::attention_forward_and_backward,
    ops::modulations,
    ops::norm_and_rotation,
    ops::activations,
    ops::linear_layers,
    ops::quantized_linear_layers,
    ops::convolutions,
    ops::group_norms,
    optimizer::steps_on_the_device,
];

const MODELS: &[Test] = tests![
    ops::layers_in_bfloat16,
    parity::transformer_embeddings_and_rotary_positions,
    parity::transformer_block,
    parity::transformer_without_and_with_hidden_text,
    parity::hidden_text_is_as_if_it_were_not_there,
    parity::vae_encoder_and_decoder,
    parity::text_encoder_hidden_states,
    parity::whole_runs,
    parity::whole_runs_in_bfloat16,
    parity::a_widened_model_is_the_base_model_whatever_the_control,
    parity::what_is_saved_is_loaded_again,
    parity::streamed_blocks_give_the_same_bytes,
    parity::mapped_weights_are_the_files_own,
    training::weights_after_eight_steps,
    training::a_run_that_goes_on,
    training::what_is_on_the_disk,
];

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    cogview4::model::ops::set_host_kernels(std::env::var_os("LIBTORCH_OWN_KERNELS").is_none());
    let mut trials = Vec::new();
    for spec in DeviceSpec::ALL {
        match spec.open() {
            Err(error) if is_asked_for(spec, &arguments) => {
                eprintln!("error: {error}");
                return ExitCode::FAILURE;
            }
            Err(error) => eprintln!("skipped: {error}"),
            Ok(device) => {
                eprintln!("runs: {spec}");
                let tests = if matches!(spec, DeviceSpec::Wgpu { .. }) { vec![OPS] } else { vec![OPS, MODELS] };
                for &(name, body) in tests.into_iter().flatten() {
                    let backend = Backend { spec, device: device.clone() };
                    let run = move || {
                        body(&backend);
                        Ok(())
                    };
                    trials.push(Trial::test(format!("{spec}::{name}"), run));
                }
            }
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Whether the filter of the tests begins with the whole name of a device.
fn is_asked_for(spec: DeviceSpec, arguments: &Arguments) -> bool {
    let filter = arguments.filter.as_deref().unwrap_or_default();
    filter.strip_prefix(&spec.to_string()).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}
