//! Disks that are full at any write: the run ends with a line, what is whole stays whole, and with more room it goes on
//! to the same bytes.

use std::{fs, path::Path, process::Command};

use crate::support::Workplace;

/// Sizes that are tried, in KiB, beside what the run needs.
const STEP: usize = 96;

/// A small file system of its own, as far as this machine lets one be made.
struct Disk<'a>(&'a Path);

impl<'a> Disk<'a> {
    fn mount(place: &'a Path, kib: usize) -> Option<Self> {
        fs::create_dir_all(place).unwrap();
        let size = format!("size={kib}k");
        let done = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(place).output();
        done.is_ok_and(|output| output.status.success()).then_some(Self(place))
    }

    fn grow(&self, kib: usize) {
        let size = format!("remount,size={kib}k");
        assert!(Command::new("mount").args(["-o", &size]).arg(self.0).status().unwrap().success());
    }
}

impl Drop for Disk<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0).status();
    }
}

#[test]
fn every_write_may_find_the_disk_full() {
    let workplace = Workplace::new();
    let flags = ["--max_train_steps", "3", "--checkpointing_steps", "1", "--checkpoints_total_limit", "2"];
    workplace.succeeds(&flags);
    let used = |folder: &str| -> usize {
        let output = Command::new("du").args(["-sk", "--apparent-size"]).arg(workplace.path(folder)).output().unwrap();
        String::from_utf8_lossy(&output.stdout).split_whitespace().next().unwrap().parse().unwrap()
    };
    let (all, place) = (used("out"), workplace.path("small"));
    let expected = workplace.bytes("out/diffusion_pytorch_model.safetensors");
    let mut refused = 0;
    for kib in (16..all + 2 * STEP).step_by(STEP.max(all / 24)) {
        // Where nothing may be mounted, there is nothing to try.
        let Some(disk) = Disk::mount(&place, kib) else { return };
        let output = workplace.run(&[&flags[..], &["--output_dir", "small/out"]].concat());
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        if !output.status.success() {
            refused += 1;
            assert!(error.starts_with("error: ") && error.trim_end().lines().count() == 1, "{kib} KiB: {error}");
        }
        let names = |folder: &Path| -> Vec<String> {
            let entries = fs::read_dir(folder).into_iter().flatten();
            entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
        };
        for name in names(&place.join("out")) {
            assert!(!name.starts_with(".tmp-"), "{kib} KiB: {name} is left");
        }
        disk.grow(4 * all);
        let resume = ["--output_dir", "small/out", "--resume_from_checkpoint", "latest"];
        let output = workplace.run(&[&flags[..], &resume].concat());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && !said.contains("passed over"), "{kib} KiB: {said}");
        assert!(workplace.bytes("small/out/diffusion_pytorch_model.safetensors") == expected, "{kib} KiB");
        assert_eq!(workplace.metrics("small/out"), workplace.metrics("out"), "{kib} KiB");
    }
    assert!(refused > 5, "{refused}");
}
