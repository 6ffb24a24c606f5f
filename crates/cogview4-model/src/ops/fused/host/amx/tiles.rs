//! The matrix unit: eight tiles of 16 rows of 64 bytes.
//!
//! Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 1, chapter 18.

use std::{
    arch::{
        asm,
        x86_64::{__cpuid, __cpuid_count, __m512i, _xgetbv},
    },
    marker::PhantomData,
};

use half::bf16;

/// Rows of a tile.
pub(super) const ROWS: usize = 16;
/// Values of bfloat16 in a row of a tile: how far one instruction goes along the axis that is summed over.
pub(super) const DEPTH: usize = 32;
/// Values of bfloat16 in a tile.
const VALUES: usize = ROWS * DEPTH;
/// Sums in f32 that a tile holds.
const SUMS: usize = ROWS * ROWS;
/// Rows of a panel: two tiles, so that each that is loaded serves two products.
pub(super) const PANEL_ROWS: usize = 2 * ROWS;

/// Bytes of a row of a tile, and of a tile.
const ROW_BYTES: usize = 64;
const TILE_BYTES: usize = ROWS * ROW_BYTES;

/// Steps of a panel that are multiplied at once, at most, and where each begins in it.
pub(super) const MOST_STEPS: usize = 8;
const OFFSETS: [usize; MOST_STEPS] = {
    let mut offsets = [0; MOST_STEPS];
    let mut step = 0;
    while step < MOST_STEPS {
        offsets[step] = step * size_of::<Step>();
        step += 1;
    }
    offsets
};

/// Whether the CPU has the unit and the kernel lets this process use it.
pub(super) fn is_there() -> bool {
    const OSXSAVE: u32 = 1 << 27;
    const AMX_BF16_AND_TILE: u32 = (1 << 22) | (1 << 24);
    const TILE_STATE: u64 = (1 << 17) | (1 << 18);
    let has_vectors = is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512bf16");
    has_vectors
        && __cpuid(0).eax >= 7
        && __cpuid(1).ecx & OSXSAVE != 0
        && __cpuid_count(7, 0).edx & AMX_BF16_AND_TILE == AMX_BF16_AND_TILE
        && enabled_state() & TILE_STATE == TILE_STATE
        && is_permitted()
}

#[expect(unsafe_code, reason = "reads a register of the CPU")]
fn enabled_state() -> u64 {
    #[target_feature(enable = "xsave")]
    fn read() -> u64 {
        // SAFETY: register 0 is there where the kernel has set OSXSAVE, which the caller has seen.
        unsafe { _xgetbv(0) }
    }
    // SAFETY: as above.
    unsafe { read() }
}

/// Asks the kernel for the unit's state, which it keeps for a process only on request.
#[expect(unsafe_code, reason = "a system call that no library wraps")]
fn is_permitted() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
    const TILE_DATA: libc::c_long = 18;
    // SAFETY: takes two numbers, and changes nothing in this process's memory.
    unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, TILE_DATA) == 0 }
}

/// A step of a panel: 32 rows, 32 values deep, as two tiles.
#[repr(C, align(64))]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
pub(super) struct Step(pub(super) [bf16; 2 * VALUES]);

#[cfg(feature = "flex")]
impl Step {
    /// Half of a row, where the step is packed as the first side.
    #[inline(always)]
    pub(super) fn lanes_mut(&mut self, row: usize, half: usize) -> &mut [bf16; ROWS] {
        &mut self.0.as_chunks_mut().0[2 * row + half]
    }

    /// A row of a tile.
    #[inline(always)]
    pub(super) fn line_mut(&mut self, row: usize) -> &mut [bf16; DEPTH] {
        &mut self.0.as_chunks_mut().0[row]
    }
}

/// Sums of two panels, 32 by 32, as four tiles: upper and lower half of the first by left and right half of the second.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
pub(super) struct Sums([[f32; SUMS]; 4]);

impl Default for Sums {
    fn default() -> Self {
        Self([[0.0; SUMS]; 4])
    }
}

impl Sums {
    /// The sum of a row of the first panel with one of the second.
    pub(super) fn get(&self, [row, column]: [usize; 2]) -> f32 {
        self.0[row / ROWS * 2 + column / ROWS][row % ROWS * ROWS + column % ROWS]
    }

    /// The sums of a row of the first panel with half of the second.
    #[cfg(feature = "flex")]
    #[inline(always)]
    pub(super) fn lanes_mut(&mut self, row: usize, half: usize) -> &mut [f32; ROWS] {
        &mut self.0[row / ROWS * 2 + half].as_chunks_mut().0[row % ROWS]
    }

    /// A tile, row by row.
    #[inline]
    #[target_feature(enable = "avx512f")]
    #[expect(unsafe_code, reason = "bits are bits")]
    pub(super) fn vectors(&self, tile: usize) -> [__m512i; ROWS] {
        // SAFETY: a tile begins at a multiple of 64 bytes, and is 16 vectors of 16 values each.
        unsafe { *std::ptr::from_ref(&self.0[tile]).cast::<[__m512i; ROWS]>() }
    }
}

/// The unit, set up for this thread as long as this lives.
pub(super) struct Tiles(PhantomData<*const ()>);

#[repr(C, align(64))]
struct Configuration {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

impl Tiles {
    #[expect(unsafe_code, reason = "Rust has no stable intrinsics for the unit")]
    pub(super) fn set_up() -> Self {
        let of_eight = |value: u8| std::array::from_fn(|tile| if tile < 8 { value } else { 0 });
        let configuration = Configuration {
            palette: 1,
            start_row: 0,
            reserved: [0; 14],
            row_bytes: of_eight(ROW_BYTES as u8).map(u16::from),
            rows: of_eight(ROWS as u8),
        };
        // SAFETY: the unit is there, or nobody would call this; the configuration is valid for palette 1.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &configuration, options(nostack, readonly)) };
        Self(PhantomData)
    }

    /// Products of two panels: `sums += a b^T`, or `sums = a b^T` where `is_first`. Tiles of `a` have its rows, those
    /// of `b` are transposed by pairs of values. At most [`MOST_STEPS`].
    #[inline]
    #[expect(unsafe_code, reason = "memory that the unit reads")]
    pub(super) fn multiply(&self, a: &[Step], b: &[Step], sums: &mut Sums, is_first: bool) {
        let first = a.as_ptr().cast::<u8>();
        // SAFETY: at each offset are the two tiles of a step.
        unsafe {
            self.multiply_at(
                [first, first.wrapping_add(TILE_BYTES)],
                (&OFFSETS[..a.len()], ROW_BYTES),
                b,
                sums,
                is_first,
            );
        }
    }

    /// As [`multiply`](Self::multiply), where the two tiles of each step of the first panel lie apart: at one of `offsets`
    /// from where the two of `a` begin, with `stride` bytes from row to row.
    #[inline]
    #[expect(unsafe_code, reason = "memory that the unit reads")]
    pub(super) fn multiply_taps(
        &self,
        a: [&[u8]; 2],
        (offsets, stride): (&[usize], usize),
        b: &[Step],
        sums: &mut Sums,
        is_first: bool,
    ) {
        let end = offsets.iter().max().map_or(0, |offset| offset + (ROWS - 1) * stride + ROW_BYTES);
        assert!(a.iter().all(|a| end <= a.len()), "invariant: tiles that are there");
        // SAFETY: by the assertion.
        unsafe { self.multiply_at(a.map(<[u8]>::as_ptr), (offsets, stride), b, sums, is_first) };
    }

    /// See [`multiply_taps`](Self::multiply_taps).
    ///
    /// # Safety
    /// Tiles are at all offsets from both pointers.
    #[inline]
    #[expect(unsafe_code, reason = "Rust has no stable intrinsics for the unit")]
    unsafe fn multiply_at(
        &self,
        [first, second]: [*const u8; 2],
        (offsets, stride): (&[usize], usize),
        b: &[Step],
        sums: &mut Sums,
        is_first: bool,
    ) {
        assert!(offsets.len() == b.len() && !b.is_empty(), "invariant: steps of both panels");
        // SAFETY: reads tiles at all offsets, and as many steps as there are, and reads and writes the four tiles of sums.
        // `self` says that the unit is set up, and compiled code does not use its registers.
        unsafe {
            asm!(
                "test {is_first:e}, {is_first:e}",
                "jz 2f",
                "tilezero tmm0",
                "tilezero tmm1",
                "tilezero tmm2",
                "tilezero tmm3",
                "jmp 3f",
                "2:",
                "tileloadd tmm0, [{sums} + {row}]",
                "tileloadd tmm1, [{sums} + {row} + 1024]",
                "tileloadd tmm2, [{sums} + {row} + 2048]",
                "tileloadd tmm3, [{sums} + {row} + 3072]",
                "3:",
                "mov {tile}, [{offsets}]",
                "add {tile}, {first}",
                "tileloadd tmm4, [{tile} + {stride}]",
                "tileloadd tmm6, [{b} + {row}]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tileloadd tmm7, [{b} + {row} + 1024]",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "mov {tile}, [{offsets}]",
                "add {tile}, {second}",
                "tileloadd tmm5, [{tile} + {stride}]",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm3, tmm5, tmm7",
                "add {offsets}, 8",
                "add {b}, 2048",
                "dec {steps}",
                "jnz 3b",
                "tilestored [{sums} + {row}], tmm0",
                "tilestored [{sums} + {row} + 1024], tmm1",
                "tilestored [{sums} + {row} + 2048], tmm2",
                "tilestored [{sums} + {row} + 3072], tmm3",
                first = in(reg) first,
                second = in(reg) second,
                offsets = inout(reg) offsets.as_ptr() => _,
                stride = in(reg) stride,
                b = inout(reg) b.as_ptr() => _,
                steps = inout(reg) b.len() => _,
                sums = in(reg) sums,
                row = in(reg) ROW_BYTES,
                is_first = in(reg) u32::from(is_first),
                tile = out(reg) _,
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack),
            );
        }
    }
}

impl Drop for Tiles {
    #[expect(unsafe_code, reason = "Rust has no stable intrinsics for the unit")]
    fn drop(&mut self) {
        // SAFETY: gives up what `set_up` took.
        unsafe { asm!("tilerelease", options(nostack, nomem)) };
    }
}
