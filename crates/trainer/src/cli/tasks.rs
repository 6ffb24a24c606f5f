//! What the program can be asked for: training, and tasks beside it.

use clap::{Parser, Subcommand};

use super::{Args, convert::ConvertArgs, inspect::InspectArgs, launch::LaunchArgs, push::PushArgs};

/// Fine-tune a CogView4 Control model on pairs of pictures and control images.
#[derive(Debug, Clone, Parser)]
#[command(name = "train_control_cogview4", args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// What to train.
    #[command(flatten)]
    pub train: Args,
    /// Other tasks.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// Other tasks than training.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Look at every pair of the data set before training, with the same flags: a table, a page OUTPUT_DIR/check.html,
    /// and a non-zero status when something is wrong
    Check(Box<Args>),
    /// Write a checkpoint, a component or a pipeline anew, in another type or in other shards
    Convert(ConvertArgs),
    /// Start the processes of a run, which takes the same flags, with the mpirun of the MPI that this program is built with
    Launch(Box<LaunchArgs>),
    /// Show what is in weight files or in a data set, compare two sets of weights, or save a picture of a data set
    Inspect(Box<InspectArgs>),
    /// Show what a run would take, with the same flags, before anything is loaded: memory, disk and time, whether it
    /// fits, and the cheapest flags that do
    Plan(Box<Args>),
    /// Push the result of a run to the Hub, or go on with a push that failed
    Push(PushArgs),
}
