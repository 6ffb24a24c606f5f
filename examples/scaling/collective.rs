//! What an exchange or a gathering sends, and how long it takes, by algorithm.

use super::hardware::Machine;

/// How slices find their owners.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Algorithm {
    /// Every rank sends to every other rank what is its own: what the trainer does. Sums are made once, by the owner.
    AllToAll,
    /// Ranks in a circle, with as many circles as a node has adapters; each hop adds and rounds.
    Ring,
    /// All-to-all within each node, then between the ranks that have the same place in their nodes. Sums of a node
    /// travel in f32, so that nothing is rounded on the way.
    Hierarchical,
    /// All-reduce up and down a tree, of which each rank keeps its slice; weights are gathered by doubling.
    Tree,
}

impl Algorithm {
    pub(crate) const ALL: [Self; 4] = [Self::AllToAll, Self::Ring, Self::Hierarchical, Self::Tree];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::AllToAll => "all-to-all",
            Self::Ring => "ring",
            Self::Hierarchical => "hierarchical",
            Self::Tree => "tree (all-reduce)",
        }
    }
}

/// Where ranks are: so many, of which so many are in each node.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Placement {
    pub(crate) ranks: usize,
    pub(crate) per_node: usize,
}

impl Placement {
    pub(crate) fn new(ranks: usize, machine: &Machine) -> Self {
        Self { ranks, per_node: machine.ranks_per_node.min(ranks) }
    }

    pub(crate) fn nodes(self) -> usize {
        self.ranks.div_ceil(self.per_node)
    }
}

/// What one rank sends: bytes and messages within its node and to others.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Traffic {
    pub(crate) near: f64,
    pub(crate) far: f64,
    near_messages: f64,
    far_messages: f64,
    /// Whether nothing goes far before all has come from near.
    in_turn: bool,
}

impl Traffic {
    /// Bytes that leave a rank.
    pub(crate) fn sent(self) -> f64 {
        self.near + self.far
    }

    pub(crate) fn seconds(self, machine: &Machine) -> f64 {
        let near = self.near / machine.near.bandwidth;
        let far = self.far / machine.far.bandwidth;
        let bytes = if self.in_turn { near + far } else { near.max(far) };
        bytes + self.near_messages * machine.near.latency + self.far_messages * machine.far.latency
    }
}

/// Adds a unit of so many bytes in the type of gradients; each rank ends with its slice of the sum.
pub(crate) fn reduce_scatter(algorithm: Algorithm, bytes: f64, place: Placement) -> Traffic {
    match algorithm {
        // Sums of a node are twice as wide as gradients.
        Algorithm::Hierarchical => hierarchical(bytes, place, 2.0),
        Algorithm::Tree => tree_all_reduce(bytes, place),
        _ => all_gather(algorithm, bytes, place),
    }
}

/// Gathers a unit of so many bytes from the slices of all ranks.
pub(crate) fn all_gather(algorithm: Algorithm, bytes: f64, place: Placement) -> Traffic {
    let (ranks, per_node, nodes) = (place.ranks as f64, place.per_node as f64, place.nodes() as f64);
    let all = bytes * (ranks - 1.0) / ranks;
    match algorithm {
        Algorithm::AllToAll => Traffic {
            near: bytes * (per_node - 1.0) / ranks,
            far: bytes * (ranks - per_node) / ranks,
            near_messages: per_node - 1.0,
            far_messages: ranks - per_node,
            in_turn: false,
        },
        // One hop of each circle leaves the node, and each adapter has a circle.
        Algorithm::Ring => {
            let far = if nodes > 1.0 { all / per_node } else { 0.0 };
            Traffic { near: all - far, far, near_messages: ranks - nodes, far_messages: nodes - 1.0, in_turn: false }
        }
        Algorithm::Hierarchical => hierarchical(bytes, place, 1.0),
        Algorithm::Tree => Traffic {
            near_messages: per_node.log2().ceil(),
            far_messages: nodes.log2().ceil(),
            ..hierarchical(bytes, place, 1.0)
        },
    }
}

/// Within nodes, then between them; `widened` is how much wider values are between them.
fn hierarchical(bytes: f64, place: Placement, widened: f64) -> Traffic {
    let (per_node, nodes) = (place.per_node as f64, place.nodes() as f64);
    Traffic {
        near: bytes * (per_node - 1.0) / per_node,
        far: widened * bytes / per_node * (nodes - 1.0) / nodes,
        near_messages: per_node - 1.0,
        far_messages: nodes - 1.0,
        in_turn: true,
    }
}

/// All values go up and come down.
fn tree_all_reduce(bytes: f64, place: Placement) -> Traffic {
    let (ranks, per_node, nodes) = (place.ranks as f64, place.per_node as f64, place.nodes() as f64);
    let far = 2.0 * bytes * (nodes - 1.0) / nodes / per_node;
    Traffic {
        near: 2.0 * bytes * (ranks - 1.0) / ranks - far,
        far,
        near_messages: 2.0 * per_node.log2().ceil(),
        far_messages: 2.0 * nodes.log2().ceil(),
        in_turn: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hardware::H100;

    const BYTES: f64 = 453e6;

    fn place(ranks: usize) -> Placement {
        Placement::new(ranks, &H100)
    }

    #[test]
    fn one_rank_sends_nothing() {
        for algorithm in Algorithm::ALL {
            for traffic in [reduce_scatter(algorithm, BYTES, place(1)), all_gather(algorithm, BYTES, place(1))] {
                assert_eq!((traffic.sent(), traffic.seconds(&H100)), (0.0, 0.0), "{algorithm:?}");
            }
        }
    }

    #[test]
    fn every_rank_sends_all_but_its_own_slice() {
        for ranks in [2, 8, 16, 64, 1024] {
            let expected = BYTES * (ranks - 1) as f64 / ranks as f64;
            for algorithm in Algorithm::ALL {
                let sent = all_gather(algorithm, BYTES, place(ranks)).sent();
                assert!((sent / expected - 1.0).abs() < 1e-12, "{algorithm:?}, {ranks}: {sent}");
            }
            for (algorithm, times) in [(Algorithm::AllToAll, 1.0), (Algorithm::Ring, 1.0), (Algorithm::Tree, 2.0)] {
                let sent = reduce_scatter(algorithm, BYTES, place(ranks)).sent();
                assert!((sent / expected / times - 1.0).abs() < 1e-12, "{algorithm:?}, {ranks}: {sent}");
            }
        }
    }

    #[test]
    fn within_a_node_nothing_goes_far_and_between_nodes_the_others_send_less() {
        for algorithm in Algorithm::ALL {
            assert_eq!(reduce_scatter(algorithm, BYTES, place(8)).far, 0.0);
            let far = reduce_scatter(algorithm, BYTES, place(64)).far;
            let of_all = reduce_scatter(Algorithm::AllToAll, BYTES, place(64)).far;
            assert!(algorithm == Algorithm::AllToAll || far < of_all / 3.0, "{algorithm:?}: {far} of {of_all}");
        }
    }

    #[test]
    fn more_ranks_and_more_bytes_take_longer() {
        for algorithm in Algorithm::ALL {
            let seconds = |ranks| reduce_scatter(algorithm, BYTES, place(ranks)).seconds(&H100);
            assert!([1, 2, 8, 16, 64, 256, 1024].map(seconds).is_sorted(), "{algorithm:?}");
            let twice = reduce_scatter(algorithm, 2.0 * BYTES, place(64)).seconds(&H100);
            assert!(twice > seconds(64) && twice <= 2.0 * seconds(64), "{algorithm:?}");
        }
    }
}
