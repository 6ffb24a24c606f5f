//! Files that are cut while their memory is mapped. Reading such memory is a signal, SIGBUS, which by itself ends a
//! program without a word; here it names the file.

use std::{
    os::unix::ffi::OsStrExt,
    path::Path,
    ptr,
    sync::{
        Once,
        atomic::{AtomicPtr, AtomicUsize, Ordering},
    },
};

/// Maps that can be named at a time; those beyond are as they would be without.
const SLOTS: usize = 512;

/// A map that lives: a handler of signals may use no locks and no memory of the heap's.
struct Slot {
    start: AtomicUsize,
    end: AtomicUsize,
    /// Made by [`Box::into_raw`] of a vector with the path's bytes.
    path: AtomicPtr<Vec<u8>>,
}

static MAPS: [Slot; SLOTS] =
    [const { Slot { start: AtomicUsize::new(0), end: AtomicUsize::new(0), path: AtomicPtr::new(ptr::null_mut()) } };
        SLOTS];

/// What is said for a file whose map lives, until this is dropped.
#[derive(Debug)]
pub(crate) struct NamedMap(Option<usize>);

impl NamedMap {
    /// Names the file whose memory this is.
    pub(crate) fn new(memory: &[u8], path: &Path) -> Self {
        let range = memory.as_ptr_range();
        let slot = MAPS.iter().position(|slot| {
            let free = slot.end.compare_exchange(0, usize::MAX, Ordering::AcqRel, Ordering::Relaxed);
            free.is_ok()
        });
        if let Some(slot) = slot {
            let name = Box::new(path.as_os_str().as_bytes().to_vec());
            MAPS[slot].path.store(Box::into_raw(name), Ordering::Release);
            MAPS[slot].start.store(range.start.addr(), Ordering::Release);
            MAPS[slot].end.store(range.end.addr().max(1), Ordering::Release);
        }
        Self(slot)
    }
}

impl Drop for NamedMap {
    #[expect(unsafe_code, reason = "the name is handed to the handler as a pointer")]
    fn drop(&mut self) {
        let Some(slot) = self.0.map(|slot| &MAPS[slot]) else { return };
        slot.start.store(0, Ordering::Release);
        let name = slot.path.swap(ptr::null_mut(), Ordering::AcqRel);
        // SAFETY: made by `Box::into_raw` in `new`, and taken out here only. A handler that still reads it would be that
        // of a thread that reads the map, which is borrowed then and not dropped.
        drop(unsafe { Box::from_raw(name) });
        slot.end.store(0, Ordering::Release);
    }
}

/// From now on, a program that reads a file of weights which somebody has cut meanwhile ends with one line that names the
/// file, and status 1. For programs, to be called once at their beginning; libraries leave signals to their program.
#[expect(unsafe_code, reason = "a handler of signals")]
pub fn name_cut_files() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: an action of zeros is a valid one, all fields that matter are set, and the handler does only what a
        // handler may do: it reads atomics, writes to a file descriptor, and ends the process.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_bus as extern "C" fn(_, _, _) as usize;
            action.sa_flags = libc::SA_SIGINFO;
            libc::sigaction(libc::SIGBUS, &raw const action, ptr::null_mut());
        }
    });
}

#[expect(unsafe_code, reason = "a handler of signals")]
extern "C" fn on_bus(signal: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the system gives the handler a valid description of the signal; names live as long as their maps, one of
    // which the thread was reading. All calls are among those that a handler may make.
    unsafe {
        let address = (*info).si_addr().addr();
        for slot in &MAPS {
            let (start, end) = (slot.start.load(Ordering::Acquire), slot.end.load(Ordering::Acquire));
            let name = slot.path.load(Ordering::Acquire);
            if start == 0 || !(start..end).contains(&address) || name.is_null() {
                continue;
            }
            for part in [&b"error: "[..], &*name, b": is shorter than it was: somebody changed it while it was read\n"]
            {
                libc::write(libc::STDERR_FILENO, part.as_ptr().cast(), part.len());
            }
            libc::_exit(1);
        }
        // Not ours: as if there were no handler, when the same instruction is tried again.
        libc::signal(signal, libc::SIG_DFL);
    }
}
