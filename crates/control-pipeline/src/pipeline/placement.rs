//! Where the weights of a pipeline are while it draws.

/// Where the weights of a pipeline are while it draws. The pictures are the same, byte for byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Placement {
    /// In memory. On the CPU, what the files hold in the type of the computation is not copied, but shares their
    /// memory.
    #[default]
    Resident,
    /// In their files: blocks of transformer and text encoder are read before each use, one ahead, so that never more
    /// than two of them are in memory.
    Streamed,
}
