//! The cores of a machine, divided among its processes.

use super::Group;

/// Gives each process of a machine its part of the cores, unless the launcher has done so, or the user.
pub(super) fn take_own(group: &Group) {
    if std::env::var_os("RAYON_NUM_THREADS").is_some() {
        return;
    }
    let usable = std::thread::available_parallelism().map_or(1, usize::from);
    let fair = (cores().unwrap_or(usable) / group.local_size()).max(1);
    // Where something has computed already, it has all cores: slower, not wrong.
    let _ = rayon::ThreadPoolBuilder::new().num_threads(fair.min(usable)).build_global();
}

/// The cores of this machine, also of a process that is bound to some of them.
fn cores() -> Option<usize> {
    let online = std::fs::read_to_string("/sys/devices/system/cpu/online").ok()?;
    let count = |range: &str| -> Option<usize> {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        Some(last.parse::<usize>().ok()? + 1 - first.parse::<usize>().ok()?)
    };
    online.trim().split(',').map(count).sum()
}
