//! What a drawing takes: shown, chosen by, and looked at before anything is loaded.

use std::io::{ErrorKind, Write, stdout};

use anyhow::{Context, Result, bail, ensure};
use cogview4_cli::note;
use cogview4_control_pipeline::plan::{DrawingPlan, DrawingSettings, Placement, Planner, WeightStorage};
use cogview4_control_pipeline::{MAX_IMAGES, MAX_STEPS};

use super::Cli;

/// Tiles are multiples of this, and at least so large.
const TILE_MULTIPLE: usize = 64;

/// Checks flags that need nothing else.
pub(crate) fn check(cli: &Cli) -> Result<()> {
    ensure!(!cli.offload || cli.max_memory.is_none(), "--max_memory: --offload keeps as little as possible already");
    for (flag, count, most) in [
        ("--num_inference_steps", cli.num_inference_steps, MAX_STEPS),
        ("--num_images_per_prompt", cli.num_images_per_prompt, MAX_IMAGES),
    ] {
        ensure!((1..=most).contains(&count), "{flag}: {count} is not from 1 to {most}");
    }
    if let Some(side) = cli.vae_tiling {
        let fits = side > 0 && side.is_multiple_of(TILE_MULTIPLE);
        ensure!(fits, "--vae_tiling: {side} is not a multiple of {TILE_MULTIPLE}");
    }
    Ok(())
}

/// The settings that the flags ask for.
fn settings(cli: &Cli) -> DrawingSettings {
    DrawingSettings {
        device: cli.device,
        dtype: cli.dtype,
        weights: if cli.weights.is_some() { WeightStorage::Int8 } else { WeightStorage::Computed },
        placement: match cli.max_memory {
            Some(size) => Placement::Budget(size.0),
            None if cli.offload => Placement::Streamed,
            None => Placement::Resident,
        },
        vae_tile: cli.vae_tiling,
    }
}

/// Prints the plan, and as the last line the plan for programs.
pub(crate) fn show(cli: &Cli, planner: Planner) -> Result<()> {
    let settings = settings(cli);
    let planner = within(cli, planner).measured(&settings);
    let cheapest = planner.cheapest(&settings);
    let plan = match (&cli.fit, &cheapest) {
        (Some(_), Some(cheapest)) => cheapest.clone(),
        _ => planner.plan(&settings),
    };
    let (table, verdict) = (planner.table(&plan), planner.verdict(&plan, cheapest.as_ref()));
    let text = format!("{table}\n\n{verdict}\n\n{}\n", planner.json(&plan, cheapest.as_ref()));
    match stdout().write_all(text.as_bytes()) {
        // Who has read enough, `head` for instance, is no fault.
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error).context("standard output"),
        _ => Ok(()),
    }
}

/// The plan to draw by: that of the flags, or with `--fit` the cheapest.
///
/// # Errors
/// What does not fit, in one line with what would.
pub(crate) fn choose(cli: &Cli, planner: Planner) -> Result<DrawingPlan> {
    let settings = settings(cli);
    let planner = within(cli, planner);
    let plan = planner.plan(&settings);
    if cli.fit.is_none() && plan.fits() {
        return Ok(plan);
    }
    let planner = planner.measured(&settings);
    let cheapest = planner.cheapest(&settings).filter(|_| cli.fit.is_some());
    let Some(cheapest) = cheapest else {
        let flag = match cli.fit.or(cli.max_memory) {
            None => "",
            Some(_) if cli.fit.is_some() => "--fit: ",
            Some(_) => "--max_memory: ",
        };
        bail!("{flag}{}", planner.refusal(&plan));
    };
    if cheapest.settings != settings {
        note(&format!("drawing with {}", cheapest.settings.flags().join(" ")));
    }
    Ok(cheapest)
}

/// The planner, with the limit of `--fit`.
fn within(cli: &Cli, planner: Planner) -> Planner {
    match cli.fit {
        Some(size) => planner.within(size.0),
        None => planner,
    }
}
