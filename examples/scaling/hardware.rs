//! The machines, as few numbers each. None was measured by this repository: peaks are those of the vendors' data
//! sheets, and what is reached of them is assumed, with the reason beside it.

/// A way between ranks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Link {
    /// Bytes a second that a rank can send, and at the same time receive.
    pub(crate) bandwidth: f64,
    /// Seconds that each message, or each step of a ring or tree, costs beside its bytes.
    pub(crate) latency: f64,
}

/// What ranks compute with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Compute {
    /// A card for each rank.
    Cards {
        /// Operations a second in bfloat16, dense, by the data sheet.
        peak: f64,
        /// What products and attention of a training step reach of it, other kernels counted in.
        achieved: f64,
        /// Bytes on the card.
        memory: f64,
        /// Bytes a second that its memory gives in practice.
        bandwidth: f64,
    },
    /// Processes that share the cores of one machine: each has its part of them, whatever it does.
    SharedCores {
        /// Cores of the machine.
        cores: f64,
        /// Operations a second that one core reaches; its ratios alone matter where seconds are measured.
        each: f64,
    },
}

/// A machine, or as many equal ones as are needed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Machine {
    pub(crate) name: &'static str,
    pub(crate) compute: Compute,
    /// Ranks a node.
    pub(crate) ranks_per_node: usize,
    /// Within a node.
    pub(crate) near: Link,
    /// Between nodes.
    pub(crate) far: Link,
    /// Bytes a second between a rank's device and the host's memory, one direction.
    pub(crate) host_link: f64,
    /// Bytes a second of the host's memory, of the whole node.
    pub(crate) host_bandwidth: f64,
}

/// Products in bfloat16, dense: data sheet of the A100.
const A100_PEAK: f64 = 312e12;
/// The published tables of MosaicML's llm-foundry have 73 % for a 7 B language model on 8 A100 with recompute and
/// sequences of 4,096. Less is assumed here, for modulations, joint sequences and gated sums.
const A100_ACHIEVED: f64 = 0.60;
/// Data sheet 2.04 TB/s, of which streams reach about four fifths.
const A100_MEMORY_BANDWIDTH: f64 = 1.6e12;
/// NVLink 3: 300 GB/s each direction by the data sheet; tests of NCCL on 8 cards are reported at 230 to 250.
const A100_NVLINK: f64 = 230e9;
/// One adapter of 200 Gb/s a card, as in the vendor's own nodes; four fifths of 25 GB/s.
const A100_NETWORK: f64 = 20e9;
/// PCIe 4 x16, 25 GB/s in practice, which two cards of a node share.
const A100_HOST_LINK: f64 = 12.5e9;
/// Two sockets of eight channels DDR4-3200: 410 GB/s, of which streams reach seven tenths.
const A100_HOST_BANDWIDTH: f64 = 290e9;

/// Products in bfloat16, dense: data sheet of the H100 SXM.
const H100_PEAK: f64 = 989e12;
/// 54 % in the same tables as for the A100; a little less is assumed for the same reason.
const H100_ACHIEVED: f64 = 0.50;
/// Data sheet 3.35 TB/s, four fifths of it.
const H100_MEMORY_BANDWIDTH: f64 = 2.7e12;
/// NVLink 4: 450 GB/s each direction by the data sheet. Reports of 460 and more are of all-reduce with sums in the
/// switch, which an exchange of slices does not have.
const H100_NVLINK: f64 = 350e9;
/// One adapter of 400 Gb/s a card; four fifths of 50 GB/s.
const H100_NETWORK: f64 = 40e9;
/// PCIe 5 x16 in practice.
const H100_HOST_LINK: f64 = 50e9;
/// Two sockets of eight channels DDR5-4800: 614 GB/s, seven tenths of it.
const H100_HOST_BANDWIDTH: f64 = 430e9;

/// Of both kinds of card that are shown.
const CARD_MEMORY: f64 = 80e9;
const RANKS_PER_NODE: usize = 8;
/// Start of a message between cards of a node.
const NEAR_LATENCY: f64 = 5e-6;
/// Start of a message between nodes: the network's 2 to 3 us, and a handshake before large messages.
const FAR_LATENCY: f64 = 10e-6;

pub(crate) const A100: Machine = Machine {
    name: "A100-80",
    compute: Compute::Cards {
        peak: A100_PEAK,
        achieved: A100_ACHIEVED,
        memory: CARD_MEMORY,
        bandwidth: A100_MEMORY_BANDWIDTH,
    },
    ranks_per_node: RANKS_PER_NODE,
    near: Link { bandwidth: A100_NVLINK, latency: NEAR_LATENCY },
    far: Link { bandwidth: A100_NETWORK, latency: FAR_LATENCY },
    host_link: A100_HOST_LINK,
    host_bandwidth: A100_HOST_BANDWIDTH,
};

pub(crate) const H100: Machine = Machine {
    name: "H100",
    compute: Compute::Cards {
        peak: H100_PEAK,
        achieved: H100_ACHIEVED,
        memory: CARD_MEMORY,
        bandwidth: H100_MEMORY_BANDWIDTH,
    },
    ranks_per_node: RANKS_PER_NODE,
    near: Link { bandwidth: H100_NVLINK, latency: NEAR_LATENCY },
    far: Link { bandwidth: H100_NETWORK, latency: FAR_LATENCY },
    host_link: H100_HOST_LINK,
    host_bandwidth: H100_HOST_BANDWIDTH,
};

impl Compute {
    /// Operations a second of one of so many ranks.
    pub(crate) fn rate(self, ranks: usize) -> f64 {
        match self {
            Self::Cards { peak, achieved, .. } => peak * achieved,
            Self::SharedCores { cores, each } => cores * each / ranks as f64,
        }
    }

    /// Operations a second that utilisation is counted of, of one of so many ranks. Cores have no data sheet here, so
    /// it is what they reach.
    pub(crate) fn peak(self, ranks: usize) -> f64 {
        match self {
            Self::Cards { peak, .. } => peak,
            Self::SharedCores { .. } => self.rate(ranks),
        }
    }

    /// How many times longer the same work takes each of so many ranks than one that is alone.
    pub(crate) fn slowdown(self, ranks: usize) -> f64 {
        self.rate(1) / self.rate(ranks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cards_add_up_and_shared_cores_do_not() {
        let total = |compute: Compute, ranks: usize| compute.rate(ranks) * ranks as f64;
        assert_eq!(total(A100.compute, 8), 8.0 * total(A100.compute, 1));
        let shared = Compute::SharedCores { cores: 2.0, each: 1e12 };
        assert_eq!([1, 2, 4].map(|ranks| total(shared, ranks)), [2e12; 3]);
        assert_eq!([shared.slowdown(4), A100.compute.slowdown(4)], [4.0, 1.0]);
    }
}
