//! What GPUs can do at most, by their makers' data sheets: what a measured rate is held against.

use std::{fs, path::Path};

use super::{ComputeDtype, DeviceSpec};

/// Dense products of matrices, in TFLOP/s: a part of the name, in bfloat16 on tensor cores with sums in f32, and in f32
/// without them. The first that fits is taken.
const PEAKS: [(&str, f64, f64); 22] = [
    ("B200", 2250.0, 75.0),
    ("B100", 1750.0, 60.0),
    ("GH200", 989.0, 67.0),
    ("H200", 989.0, 67.0),
    ("H100 PCIe", 756.0, 51.0),
    ("H100 NVL", 835.0, 60.0),
    ("H100", 989.0, 67.0),
    ("H800", 989.0, 67.0),
    ("H20", 148.0, 44.0),
    ("A100", 312.0, 19.5),
    ("A800", 312.0, 19.5),
    ("A40", 149.7, 37.4),
    ("A30", 165.0, 10.3),
    ("A10", 125.0, 31.2),
    ("L40S", 362.0, 91.6),
    ("L40", 181.0, 90.5),
    ("L4", 121.0, 30.3),
    ("RTX 6000 Ada", 364.2, 91.1),
    ("RTX A6000", 154.8, 38.7),
    ("RTX 5090", 209.5, 104.8),
    ("RTX 4090", 165.2, 82.6),
    ("RTX 3090", 71.0, 35.6),
];

impl DeviceSpec {
    /// The most floating-point operations a second that the maker promises of a CUDA device: dense products of matrices
    /// in this type, sums in f32. Nothing for other devices, for a card that is not known, and where the driver does
    /// not tell its name.
    pub fn peak_flops(self, dtype: ComputeDtype) -> Option<f64> {
        let (Self::LibtorchCuda(index) | Self::Cuda(index)) = self else { return None };
        peak_of(&name_of(Path::new("/proc/driver/nvidia/gpus"), index)?, dtype)
    }
}

fn peak_of(name: &str, dtype: ComputeDtype) -> Option<f64> {
    let (_, bfloat16, float32) = PEAKS.iter().find(|(part, ..)| name.contains(part))?;
    let tera = match dtype {
        ComputeDtype::BFloat16 => bfloat16,
        ComputeDtype::Float32 => float32,
    };
    Some(tera * 1e12)
}

/// The name of a card, in the order of their addresses; where there are fewer, of the last.
fn name_of(cards: &Path, index: usize) -> Option<String> {
    let mut folders: Vec<_> = fs::read_dir(cards).ok()?.filter_map(|entry| Some(entry.ok()?.path())).collect();
    folders.sort();
    let folder = folders.get(index.min(folders.len().checked_sub(1)?))?;
    let text = fs::read_to_string(folder.join("information")).ok()?;
    let model = text.lines().find_map(|line| line.strip_prefix("Model:"))?;
    Some(model.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cards_are_known_by_the_names_that_drivers_give() {
        for (name, expected) in [
            ("NVIDIA H200", Some(989e12)),
            ("NVIDIA H100 80GB HBM3", Some(989e12)),
            ("NVIDIA H100 PCIe", Some(756e12)),
            ("NVIDIA A100-SXM4-80GB", Some(312e12)),
            ("NVIDIA A10G", Some(125e12)),
            ("NVIDIA L40S", Some(362e12)),
            ("NVIDIA GeForce RTX 4090", Some(165.2e12)),
            ("NVIDIA GeForce GTX 1080", None),
        ] {
            assert_eq!(peak_of(name, ComputeDtype::BFloat16), expected, "{name}");
        }
        assert_eq!(peak_of("NVIDIA A100 80GB PCIe", ComputeDtype::Float32), Some(19.5e12));
    }

    #[test]
    fn the_driver_tells_names_by_address() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(name_of(folder.path(), 0), None);
        for (address, model) in [("0000:c1:00.0", "NVIDIA L4"), ("0000:41:00.0", "NVIDIA H200")] {
            let card = folder.path().join(address);
            fs::create_dir(&card).expect("a folder");
            let text = format!("Model: \t\t {model}\nIRQ:   \t\t 94\nGPU UUID: \t GPU-0\n");
            fs::write(card.join("information"), text).expect("a file");
        }
        assert_eq!(
            [0, 1, 2].map(|index| name_of(folder.path(), index)),
            ["H200", "L4", "L4"].map(|name| Some(format!("NVIDIA {name}")))
        );
    }

    #[test]
    fn cpus_have_no_peak_here() {
        assert_eq!(DeviceSpec::Flex.peak_flops(ComputeDtype::Float32), None);
    }
}
