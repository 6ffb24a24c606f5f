//! What an engine has to give: two collectives over bytes. All else is made of them.

/// The engine of a group, in the thread that communicates. Every process of the group makes the same calls in the same
/// order; each returns when the own part of it is done.
pub(crate) trait Transport {
    /// The number of this process, and how many there are.
    fn place(&self) -> (usize, usize);

    /// Sends `counts[r]` bytes of `send`, one part after another, to each process `r`, and fills `receive` with
    /// `received[r]` bytes of each.
    fn all_to_all(&mut self, send: &[u8], counts: &[usize], receive: &mut [u8], received: &[usize]);

    /// Sends `part` to every process, and fills `all` with `counts[r]` bytes of each process `r`.
    fn all_gather(&mut self, part: &[u8], all: &mut [u8], counts: &[usize]);
}

/// The parts of all processes one after another, of which each is as long.
pub(super) fn gather_equal(transport: &mut dyn Transport, part: &[u8]) -> Vec<u8> {
    let (_, size) = transport.place();
    let mut all = vec![0; part.len() * size];
    transport.all_gather(part, &mut all, &vec![part.len(); size]);
    all
}

/// The parts of all processes, of any length each.
pub(super) fn gather(transport: &mut dyn Transport, part: &[u8]) -> Vec<Vec<u8>> {
    let lengths = gather_equal(transport, &(part.len() as u64).to_le_bytes());
    let lengths = lengths.as_chunks().0.iter().map(|&bytes| u64::from_le_bytes(bytes) as usize);
    let counts: Vec<usize> = lengths.collect();
    let mut all = vec![0; counts.iter().sum()];
    transport.all_gather(part, &mut all, &counts);
    let mut rest = all.as_slice();
    let take = |count| {
        let (own, others) = rest.split_at(count);
        rest = others;
        own.to_vec()
    };
    counts.into_iter().map(take).collect()
}
