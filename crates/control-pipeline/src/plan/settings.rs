//! What may be chosen for a drawing without changing what is drawn, or hardly.

use cogview4_model::{ComputeDtype, DeviceSpec};

/// How a pipeline is held and computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DrawingSettings {
    /// Where it is computed.
    pub device: DeviceSpec,
    /// The number type of weights and activations.
    pub dtype: ComputeDtype,
    /// How the matrices of the blocks are held.
    pub weights: WeightStorage,
    /// Where the blocks are.
    pub placement: Placement,
    /// Side of the autoencoder's tiles, in pixels; whole pictures without.
    pub vae_tile: Option<usize>,
}

/// How the matrices of the blocks are held, of transformer and text encoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WeightStorage {
    /// In the number type of the computation.
    #[default]
    Computed,
    /// As bytes with a scale for each 32.
    Int8,
}

/// Where the blocks of transformer and text encoder are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Placement {
    /// All in memory.
    #[default]
    Resident,
    /// Two at a time, from their files.
    Streamed,
    /// As many in memory as fit into so many bytes for the whole process, the others from their files.
    Budget(u64),
}

impl Placement {
    /// Bytes that the whole process may hold, where that is limited.
    pub fn budget(self) -> Option<u64> {
        match self {
            Self::Budget(bytes) => Some(bytes),
            Self::Resident | Self::Streamed => None,
        }
    }
}

impl DrawingSettings {
    /// Whether tensors are in the host's memory.
    pub(super) fn is_on_host(&self) -> bool {
        self.device.is_cpu()
    }

    /// Whether both branches of the guidance are computed at the same time.
    pub(super) fn joins_branches(&self) -> bool {
        self.device == DeviceSpec::Flex
    }

    /// The flags of `sft_infer` that give these settings; what is its default anyway is left out.
    pub fn flags(&self) -> Vec<String> {
        let mut flags = Vec::new();
        let mut add = |flag: &str, value: Option<String>| {
            flags.push(flag.to_owned());
            flags.extend(value);
        };
        if self.device != DeviceSpec::default() {
            add("--device", Some(self.device.to_string()));
        }
        if self.dtype != ComputeDtype::default() {
            add("--dtype", Some(self.dtype.to_string()));
        }
        if self.weights == WeightStorage::Int8 {
            add("--weights", Some("int8".into()));
        }
        match self.placement {
            Placement::Resident => {}
            Placement::Streamed => add("--offload", None),
            Placement::Budget(bytes) => add("--max_memory", Some(exact_size(bytes))),
        }
        if let Some(side) = self.vae_tile {
            add("--vae_tiling", Some(side.to_string()));
        }
        flags
    }
}

/// A size as flags take it, exact.
pub fn exact_size(bytes: u64) -> String {
    [(30, "GiB"), (20, "MiB"), (10, "KiB")]
        .into_iter()
        .find(|(shift, _)| bytes.is_multiple_of(1 << shift))
        .map_or_else(|| bytes.to_string(), |(shift, unit)| format!("{}{unit}", bytes >> shift))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_say_what_is_not_the_default() {
        assert!(DrawingSettings::default().flags().is_empty());
        let settings = DrawingSettings {
            device: DeviceSpec::Libtorch,
            dtype: ComputeDtype::BFloat16,
            weights: WeightStorage::Int8,
            placement: Placement::Budget(6 << 30),
            vae_tile: Some(512),
        };
        let flags = "--device libtorch --dtype bfloat16 --weights int8 --max_memory 6GiB --vae_tiling 512";
        assert_eq!(settings.flags().join(" "), flags);
        assert_eq!([exact_size(3 << 19), exact_size(1 << 20), exact_size(1000)], ["1536KiB", "1MiB", "1000"]);
    }
}
