//! What `launch` reads: accelerate's YAML and a host file. Nothing is started: without the feature `mpi` there is no
//! launch of more processes than one, and there are four.
#![no_main]

use std::sync::LazyLock;

use clap::Parser;
use cogview4_fuzz::{Scratch, parts, said, target};
use cogview4_trainer::cli::{LaunchArgs, launch};

static ARGS: LazyLock<LaunchArgs> = LazyLock::new(|| {
    let flags = ["launch", "--num_processes", "4", "--pretrained_model_name_or_path", "/nowhere/model"];
    let data = ["--dataset_name", "/nowhere/data", "--output_dir", "/nowhere/out"];
    LaunchArgs::try_parse_from(flags.iter().chain(&data)).expect("flags")
});

target!(read);

fn read(data: &[u8]) {
    let (folder, mut args) = (Scratch::new(), ARGS.clone());
    let parts = parts(data, 2);
    args.train.config_file = Some(folder.write("accelerate.yaml", parts[0]));
    if let Some(hosts) = parts.get(1) {
        args.hostfile = Some(folder.write("hosts", hosts));
        args.num_machines = Some(2);
    }
    assert!(said(launch(args)).is_none(), "nothing can be launched");
}
