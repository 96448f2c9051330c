//! Memory that this process holds and can still have, as the system says.
//!
//! What can be had is the least of what the machine, the control groups (containers) and the limit
//! on the address space leave. Sources: Linux, `proc_meminfo(5)`, `proc_pid_status(5)`,
//! `getrlimit(2)`; the kernel's `cgroup-v2` and `cgroup-v1/memory` documents.

use std::{fs, path::Path};

/// Where control groups stand: those of version 2, and in `memory` those of version 1.
const GROUPS: &str = "/sys/fs/cgroup";

/// Returns the largest memory this process has held, in bytes; `None` where the system does not
/// say.
pub fn peak_memory() -> Option<u64> {
    field(&read("/proc/self/status")?, "VmHWM:")
}

/// Begins [`peak_memory`] anew from what the process holds now; returns whether the system can.
pub fn restart_peak_memory() -> bool {
    // 5 resets VmHWM: proc_pid_clear_refs(5).
    fs::write("/proc/self/clear_refs", "5").is_ok()
}

/// Returns the memory that this process can still have, in bytes; `None` where the system does not
/// say.
pub fn available_memory() -> Option<u64> {
    let machine = read("/proc/meminfo").and_then(|text| field(&text, "MemAvailable:"));
    let group = read("/proc/self/cgroup").and_then(|text| left_in_groups(Path::new(GROUPS), &text));
    let space = read("/proc/self/limits").and_then(|text| address_space(&text)).and_then(|limit| {
        let used = field(&read("/proc/self/status")?, "VmSize:")?;
        Some(limit.saturating_sub(used))
    });
    [machine, group, space].into_iter().flatten().min()
}

fn read(path: impl AsRef<Path>) -> Option<String> {
    fs::read_to_string(path).ok()
}

/// Returns the bytes of a line like `MemAvailable: 123 kB`.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

/// Returns the soft limit on the address space; `None` if there is none.
fn address_space(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max address space"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Where a version of control groups keeps limit, use and the pages of files that nobody reads.
struct Version {
    folder: &'static str,
    limit: &'static str,
    used: &'static str,
    idle: &'static str,
}

const SECOND: Version =
    Version { folder: "", limit: "memory.max", used: "memory.current", idle: "inactive_file " };
const FIRST: Version = Version {
    folder: "memory",
    limit: "memory.limit_in_bytes",
    used: "memory.usage_in_bytes",
    idle: "total_inactive_file ",
};

/// Returns what the tightest of a process's control groups leaves; `None` if none has a limit.
fn left_in_groups(root: &Path, own: &str) -> Option<u64> {
    let second = own.lines().find_map(|line| line.strip_prefix("0::/"));
    // `5:memory:/group`, or several controllers in one hierarchy: `5:cpu,memory:/group`.
    let first = own.lines().find_map(|line| {
        let (_, line) = line.split_once(':')?;
        let (controllers, group) = line.split_once(":/")?;
        controllers.split(',').any(|name| name == "memory").then_some(group)
    });
    let least = |version: &Version, own: &str| {
        let root = root.join(version.folder);
        Path::new(own).ancestors().filter_map(|group| version.left(&root.join(group))).min()
    };
    let found =
        [second.and_then(|own| least(&SECOND, own)), first.and_then(|own| least(&FIRST, own))];
    found.into_iter().flatten().min()
}

impl Version {
    fn left(&self, folder: &Path) -> Option<u64> {
        let number = |name: &str| read(folder.join(name))?.trim().parse::<u64>().ok();
        // Version 1 writes "no limit" as a number near 2^63.
        let limit = number(self.limit).filter(|limit| *limit < 1 << 62)?;
        let used = number(self.used)?;
        // These are given up first.
        let stat = read(folder.join("memory.stat")).unwrap_or_default();
        let idle = stat.lines().find_map(|line| line.strip_prefix(self.idle));
        let idle = idle.and_then(|bytes| bytes.parse().ok()).unwrap_or(0);
        Some(limit.saturating_sub(used.saturating_sub(idle)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_and_limits_are_in_bytes() {
        assert_eq!(field("A: 1 kB\nVmHWM:\t  20 kB\n", "VmHWM:"), Some(20 * 1024));
        assert_eq!(field("VmHWM: many kB\n", "VmHWM:"), None);
        let limits = "Limit  Soft  Hard  Units\nMax address space   4096   unlimited   bytes\n";
        assert_eq!(address_space(limits), Some(4096));
        assert_eq!(address_space("Max address space   unlimited  unlimited  bytes\n"), None);
    }

    #[test]
    fn the_tightest_control_group_counts() {
        let root = tempfile::tempdir().expect("a folder");
        let group = |name: &str, files: &[(&str, &str)]| {
            let folder = root.path().join(name);
            fs::create_dir_all(&folder).expect("a folder");
            for (file, text) in files {
                fs::write(folder.join(file), text).expect("written");
            }
        };
        let own = "1:name=systemd:/\n0::/jobs/one\n";
        assert_eq!(left_in_groups(root.path(), own), None);
        group("jobs", &[("memory.max", "1000\n"), ("memory.current", "700\n")]);
        group("jobs/one", &[("memory.max", "max\n"), ("memory.current", "1\n")]);
        assert_eq!(left_in_groups(root.path(), own), Some(300));
        group("jobs", &[("memory.stat", "anon 3\ninactive_file 200\n")]);
        assert_eq!(left_in_groups(root.path(), own), Some(500));
        group("jobs/one", &[("memory.max", "90"), ("memory.current", "100")]);
        assert_eq!(left_in_groups(root.path(), own), Some(0));
        assert_eq!(left_in_groups(root.path(), "0::/\n"), None);
    }

    /// Source: the kernel's `cgroup-v1/memory` document.
    #[test]
    fn control_groups_of_version_1_count_as_well() {
        let root = tempfile::tempdir().expect("a folder");
        let write = |group: &str, file: &str, text: &str| {
            let folder = root.path().join("memory").join(group);
            fs::create_dir_all(&folder).expect("a folder");
            fs::write(folder.join(file), text).expect("written");
        };
        let own = "5:cpuset:/other\n4:cpu,memory:/jobs/one\n0::/\n";
        assert_eq!(left_in_groups(root.path(), own), None);
        write("", "memory.limit_in_bytes", "9223372036854771712\n");
        write("", "memory.usage_in_bytes", "5\n");
        assert_eq!(left_in_groups(root.path(), own), None);
        write("jobs", "memory.limit_in_bytes", "1000\n");
        write("jobs", "memory.usage_in_bytes", "700\n");
        write("jobs", "memory.stat", "inactive_file 7\ntotal_inactive_file 100\n");
        assert_eq!(left_in_groups(root.path(), own), Some(400));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_holds_and_can_have_memory() {
        assert!(peak_memory().expect("Linux says") > 1 << 20);
        assert!(available_memory().expect("Linux says") > 1 << 20);
    }
}
