//! What multiplies matrices of bfloat16 and of 8-bit codes on the CPU.

use std::sync::atomic::{AtomicU8, Ordering};

use burn::tensor::{DType, Device};

use crate::device::{is_flex, is_libtorch_cpu};

/// A kernel of the products that linear layers are made of, where weights are in bfloat16 or in 8 bits and the CPU
/// reaches the memory; later ones are faster. Which is taken is decided while a program runs: the last that the
/// machine has.
///
/// All sum in f32 and round once, but not in the same order: results of two kernels differ by rounding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
#[non_exhaustive]
pub enum ProductKernel {
    /// What the backend's library has.
    Library,
    /// AVX2 with FMA: values are widened to f32 while they are packed.
    Avx2,
    /// As `Avx2`, with vectors of AVX-512.
    Avx512,
    /// AVX-512 with `vdpbf16ps`: nothing is widened.
    Avx512Bf16,
    /// Intel AMX.
    MatrixUnit,
}

/// The last kernel that may be taken.
static LIMIT: AtomicU8 = AtomicU8::new(ProductKernel::MatrixUnit as u8);

impl ProductKernel {
    /// All kernels, in order.
    pub const ALL: [Self; 5] = [Self::Library, Self::Avx2, Self::Avx512, Self::Avx512Bf16, Self::MatrixUnit];

    /// Whether this machine has it.
    pub fn is_there(self) -> bool {
        #[cfg(all(target_arch = "x86_64", any(feature = "flex", feature = "libtorch")))]
        return self == Self::Library || super::fused::has_kernel(self);
        #[cfg(not(all(target_arch = "x86_64", any(feature = "flex", feature = "libtorch"))))]
        return self == Self::Library;
    }

    /// The one that is taken: the last that is there and not beyond the limit.
    pub fn chosen() -> Self {
        let limit = LIMIT.load(Ordering::Relaxed);
        let may_be = |kernel: &Self| *kernel as u8 <= limit && kernel.is_there();
        Self::ALL.into_iter().rev().find(may_be).unwrap_or(Self::Library)
    }

    /// What multiplies in linear layers of this type; `None` where another device than the CPU does.
    pub fn of(device: &Device, dtype: DType) -> Option<Self> {
        match (is_flex(device), dtype) {
            (true, DType::F32) => Some(Self::chosen().min(Self::Avx512)),
            (true, DType::BF16) => Some(Self::chosen()),
            (false, DType::BF16) if is_libtorch_cpu(device) => Some(Self::chosen()),
            (is_flex, _) => (is_flex || is_libtorch_cpu(device)).then_some(Self::Library),
        }
    }

    /// A short name, for files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Library => "library",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Avx512Bf16 => "avx512_bf16",
            Self::MatrixUnit => "amx",
        }
    }

    /// The best of vectors that a machine with this one has: the matrix unit comes with all of them.
    #[cfg(all(target_arch = "x86_64", any(feature = "flex", feature = "libtorch")))]
    pub(super) fn of_vectors(self) -> Self {
        self.min(Self::Avx512Bf16)
    }

    /// Lets this process take no kernel beyond this one, as a machine does that has no better: for measurements and
    /// tests.
    pub fn set_limit(self) {
        LIMIT.store(self as u8, Ordering::Relaxed);
    }
}
