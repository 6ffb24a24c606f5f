//! What a process may still take: what the machine has left, or what its control group leaves it.

use std::path::Path;

use super::{bytes, table};

/// Where control groups are mounted: version 2 alone, beside version 1, and version 1.
const ROOTS: [(&str, Version); 3] = [
    ("/sys/fs/cgroup", Version::Two),
    ("/sys/fs/cgroup/unified", Version::Two),
    ("/sys/fs/cgroup/memory", Version::One),
];

/// Bytes that can still be taken: memory that is free or would be freed, swap included, and no more than the limits of
/// the process's control groups leave, as in a container. `None` where the system does not tell.
pub fn available_bytes() -> Option<u64> {
    let machine = table("/proc/meminfo").and_then(|table| of_machine(&table));
    let groups = table("/proc/self/cgroup");
    let left = groups.iter().flat_map(|groups| ROOTS.map(|(root, version)| version.left(groups, Path::new(root))));
    left.chain([machine]).flatten().min()
}

fn of_machine(table: &str) -> Option<u64> {
    Some(bytes(table, "MemAvailable:")? + bytes(table, "SwapFree:").unwrap_or_default())
}

/// The two interfaces of control groups.
#[derive(Clone, Copy)]
enum Version {
    One,
    Two,
}

impl Version {
    /// What the tightest of the process's groups under a mount leaves. The limit of a group holds for all below it;
    /// in a container the mount shows the process's own group as its root, whatever the path says.
    fn left(self, groups: &str, root: &Path) -> Option<u64> {
        let path = groups.lines().find_map(|line| self.path(line))?;
        let group = root.join(path.trim_start_matches('/'));
        group.ancestors().take_while(|group| group.starts_with(root)).filter_map(|group| self.left_in(group)).min()
    }

    /// The path in a line `number:controllers:path` that is about memory.
    fn path(self, line: &str) -> Option<&str> {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        let is_ours = match self {
            Self::One => controllers.split(',').any(|controller| controller == "memory"),
            Self::Two => controllers.is_empty(),
        };
        is_ours.then_some(path)
    }

    /// Limit less use, where there is a limit. Files in memory count as used, but give way.
    fn left_in(self, group: &Path) -> Option<u64> {
        let [limit, used, active, inactive] = match self {
            Self::One => {
                ["memory.limit_in_bytes", "memory.usage_in_bytes", "total_active_file ", "total_inactive_file "]
            }
            Self::Two => ["memory.max", "memory.current", "active_file ", "inactive_file "],
        };
        let read = |name: &str| std::fs::read_to_string(group.join(name)).ok();
        let limit: u64 = read(limit)?.trim().parse().ok()?;
        let used: u64 = read(used)?.trim().parse().ok()?;
        let stat = read("memory.stat").unwrap_or_default();
        let files = |name: &str| -> u64 {
            let line = stat.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|number| number.trim().parse().ok()).unwrap_or_default()
        };
        Some(limit.saturating_sub(used.saturating_sub(files(active) + files(inactive))))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_machine_has_what_is_available_and_swap() {
        let table = "MemTotal: 9 kB\nMemAvailable:   100 kB\nSwapFree: 28 kB\n";
        assert_eq!(of_machine(table), Some(128 * 1024));
        assert_eq!(of_machine("MemFree: 9 kB\n"), None);
        assert!(available_bytes().is_some_and(|bytes| bytes > 0) || !cfg!(target_os = "linux"));
    }

    #[test]
    fn the_tightest_group_counts() {
        let root = tempfile::tempdir().expect("a folder");
        let group = root.path().join("jobs/job");
        fs::create_dir_all(&group).expect("folders");
        let groups = "12:memory,pids:/elsewhere\n0::/jobs/job\n";
        let write = |folder: &Path, limit: &str, used: &str| {
            fs::write(folder.join("memory.max"), limit).expect("written");
            fs::write(folder.join("memory.current"), used).expect("written");
        };
        assert_eq!(Version::Two.left(groups, root.path()), None, "no limits");
        write(&group, "max\n", "5\n");
        write(&root.path().join("jobs"), "1000\n", "700\n");
        assert_eq!(Version::Two.left(groups, root.path()), Some(300));
        fs::write(root.path().join("jobs/memory.stat"), "anon 1\nactive_file 50\ninactive_file 100\n")
            .expect("written");
        assert_eq!(Version::Two.left(groups, root.path()), Some(450));
        write(&group, "100\n", "200\n");
        assert_eq!(Version::Two.left(groups, root.path()), Some(0));
    }

    #[test]
    fn a_container_sees_its_group_as_the_root() {
        let root = tempfile::tempdir().expect("a folder");
        fs::write(root.path().join("memory.limit_in_bytes"), "4096\n").expect("written");
        fs::write(root.path().join("memory.usage_in_bytes"), "1096\n").expect("written");
        let groups = "4:memory:/docker/0123\n0::/docker/0123\n";
        assert_eq!(Version::One.left(groups, root.path()), Some(3000));
        assert_eq!(Version::Two.left(groups, root.path()), None);
        assert_eq!(Version::One.left("4:cpu:/\n", root.path()), None);
    }
}
