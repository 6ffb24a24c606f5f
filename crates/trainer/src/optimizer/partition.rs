//! Which process owns which values: its part of masters, moments and summed gradients (ZeRO, Rajbhandari, Rasley, Ruwase
//! and He, arXiv:1910.02054). By unit, what is outside the blocks and each block, so that a unit can leave as soon as its
//! gradients are there; in whole chunks of the optimiser, so that no number depends on how many processes there are.

use std::{collections::BTreeMap, ops::Range};

use cogview4_model::weights;

use super::CHUNK;

/// The field of the blocks.
const BLOCKS: &str = "transformer_blocks";

/// What the keys of a block begin with.
pub(crate) fn block_prefix(index: usize) -> String {
    format!("{BLOCKS}.{index}.")
}

/// The number of the block whose keys begin so; `None` for what is in no block.
pub(crate) fn block_index(prefix: &str) -> Option<usize> {
    weights::block_index(prefix, BLOCKS)
}

/// The parts of the trained parameters, and which of them is this process's.
#[derive(Debug, Clone)]
pub(crate) struct Partition {
    rank: usize,
    /// By what their keys begin with, in the order in which gradients are complete.
    units: Vec<(String, Unit)>,
    /// Of each trained parameter, the number of its values and those that are owned here.
    trained: BTreeMap<String, (usize, Range<usize>)>,
}

/// Parameters whose gradients are exchanged together.
#[derive(Debug, Clone, Default)]
pub(crate) struct Unit {
    /// The parts of each process, by key.
    parts: Vec<Vec<Piece>>,
}

/// Values of a parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Piece {
    pub key: String,
    pub values: Range<usize>,
}

impl Unit {
    /// Cuts the parameters, one after another, into parts of about the same size.
    fn new(parameters: &BTreeMap<String, usize>, size: usize) -> Self {
        let total: usize = parameters.values().sum();
        let mut parts = vec![Vec::<Piece>::new(); size];
        let mut position = 0;
        for (key, &length) in parameters {
            for start in (0..length).step_by(CHUNK) {
                let values = start..(start + CHUNK).min(length);
                // Whoever has the middle of a chunk has the chunk.
                let middle = position + values.len() / 2;
                let owner = (middle as u128 * size as u128 / total as u128) as usize;
                position += values.len();
                match parts[owner].last_mut() {
                    Some(piece) if piece.key == *key => piece.values.end = values.end,
                    _ => parts[owner].push(Piece { key: key.clone(), values }),
                }
            }
        }
        Self { parts }
    }

    /// The part of a process.
    pub(crate) fn part(&self, rank: usize) -> &[Piece] {
        &self.parts[rank]
    }

    /// The pieces of these processes one after another, with the number of values before each.
    pub(crate) fn places(&self, ranks: Range<usize>) -> impl Iterator<Item = (&Piece, usize)> {
        self.parts[ranks].iter().flatten().scan(0, |before, piece| {
            let place = *before;
            *before += piece.values.len();
            Some((piece, place))
        })
    }

    /// How many values each process owns.
    pub(crate) fn counts(&self) -> Vec<usize> {
        self.parts.iter().map(|part| part.iter().map(|piece| piece.values.len()).sum()).collect()
    }
}

impl Partition {
    /// Divides parameters, given by key and number of values, among `size` processes; this one is `rank`.
    pub(crate) fn new(
        parameters: impl IntoIterator<Item = (String, usize)>,
        blocks: usize,
        (rank, size): (usize, usize),
    ) -> Self {
        let order = (0..blocks).rev().map(block_prefix).chain([String::new()]);
        let mut units: Vec<_> = order.map(|prefix| (prefix, BTreeMap::new())).collect();
        let mut trained = BTreeMap::new();
        for (key, length) in parameters {
            trained.insert(key.clone(), (length, 0..0));
            let unit = units.iter_mut().find(|(prefix, _)| key.starts_with(prefix.as_str()));
            unit.expect("invariant: every key begins with nothing").1.insert(key, length);
        }
        units.retain(|(_, parameters)| !parameters.is_empty());
        let unit = |(prefix, parameters)| (prefix, Unit::new(&parameters, size));
        let units: Vec<(String, Unit)> = units.into_iter().map(unit).collect();
        for piece in units.iter().flat_map(|(_, unit)| unit.part(rank)) {
            trained.entry(piece.key.clone()).and_modify(|(_, own)| *own = piece.values.clone());
        }
        Self { rank, units, trained }
    }

    /// The number of this process.
    pub(crate) fn rank(&self) -> usize {
        self.rank
    }

    /// The values of a parameter of so many that this process owns; one that is not trained is the first's.
    pub(crate) fn own(&self, key: &str, whole: usize) -> Range<usize> {
        match self.trained.get(key) {
            Some((_, own)) => own.clone(),
            None => 0..if self.rank == 0 { whole } else { 0 },
        }
    }

    /// Key and number of values of every trained parameter.
    pub(crate) fn trained(&self) -> impl Iterator<Item = (String, usize)> {
        self.trained.iter().map(|(key, (length, _))| (key.clone(), *length))
    }

    /// The parameters whose keys begin so; `None` where none of them is trained.
    pub(crate) fn unit(&self, prefix: &str) -> Option<&Unit> {
        self.units().find(|(of, _)| *of == prefix).map(|(_, unit)| unit)
    }

    /// The units with what their keys begin with, in the order in which their gradients are complete.
    pub(crate) fn units(&self) -> impl Iterator<Item = (&str, &Unit)> {
        self.units.iter().map(|(prefix, unit)| (prefix.as_str(), unit))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Every value has one owner, parts are about equal, and cuts are between chunks.
        #[test]
        fn parts_are_whole_and_equal(
            lengths in prop::collection::vec(1..5 * CHUNK, 1..6),
            size in 1..9_usize,
        ) {
            let key = |(index, length): (usize, &usize)| (format!("transformer_blocks.0.{index}"), *length);
            let parameters: Vec<_> = lengths.iter().enumerate().map(key).collect();
            let total: usize = lengths.iter().sum();
            let mut owned: BTreeMap<String, Vec<Range<usize>>> = BTreeMap::new();
            for rank in 0..size {
                let partition = Partition::new(parameters.clone(), 1, (rank, size));
                let unit = partition.unit("transformer_blocks.0.").expect("a unit");
                let count = unit.counts()[rank];
                prop_assert!(count.abs_diff(total / size) <= CHUNK + 1, "{count} of {total} in {size}");
                for piece in unit.part(rank) {
                    prop_assert!(piece.values.start % CHUNK == 0);
                    prop_assert_eq!(partition.own(&piece.key, 0), piece.values.clone());
                    owned.entry(piece.key.clone()).or_default().push(piece.values.clone());
                }
            }
            for (key, length) in parameters {
                let mut end = 0;
                for range in &owned[&key] {
                    prop_assert_eq!(range.start, end);
                    end = range.end;
                }
                prop_assert_eq!(end, length);
            }
        }
    }

    #[test]
    fn blocks_come_from_the_last_to_the_first() {
        let keys = ["proj_out.bias", "transformer_blocks.1.a", "transformer_blocks.10.a", "transformer_blocks.2.a"];
        let partition = Partition::new(keys.map(|key| (key.to_string(), 1)), 11, (0, 1));
        let order = ["transformer_blocks.10.", "transformer_blocks.2.", "transformer_blocks.1.", ""];
        assert!(partition.units().map(|(prefix, _)| prefix).eq(order));
        assert_eq!(partition.own("proj_out.bias", 1), 0..1);
        assert_eq!(partition.own("not trained", 7), 0..7);
    }
}
