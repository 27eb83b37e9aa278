//! The operating system's limits for this process, and how the gateway divides them between its parts.

use std::{fs, path::Path};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The open files that are reserved for the journal, the store, webhooks and the runtime. The reserve is at most half
/// of the limit, but never below [`LEAST_OWN_FILES`] plus [`WORKER_FILES`] per worker.
const OWN_FILES: u64 = 256;

/// The smallest reserve: an idle gateway has 30 files open; the other 10 are for backups, reports and webhooks.
const LEAST_OWN_FILES: u64 = 40;

/// The number of files that each worker of the inference listener has open.
const WORKER_FILES: u64 = 4;

/// The maximum number of connections of the admin listener.
const MAX_ADMIN: u64 = 1024;

/// The maximum number of connections of the inference listener.
const MAX_INFERENCE: u64 = 1 << 20;

/// The maximum number of simultaneous connections of each listener. Neither listener can use up the other's
/// connections, or the files that are reserved for the rest of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connections {
    /// Connections of customers. A second file is reserved for each, since it may need a connection to an upstream.
    pub inference: usize,
    /// Connections of operators.
    pub admin: usize,
}

impl Connections {
    /// The maximums for a process that may open `files` files and whose inference listener has `workers` workers.
    pub fn within(files: u64, workers: usize) -> Self {
        let least = LEAST_OWN_FILES.saturating_add(WORKER_FILES.saturating_mul(workers as u64));
        let rest = files.saturating_sub(OWN_FILES.min(files / 2).max(least));
        let admin = (rest / 8).clamp(1, MAX_ADMIN);
        let inference = (rest.saturating_sub(admin) / 2).clamp(1, MAX_INFERENCE);
        // The casts are lossless: both values were clamped.
        Self { inference: inference as usize, admin: admin as usize }
    }
}

/// The number of files that this process may have open at a time (the soft limit).
pub fn open_files() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Raises the soft limit of open files to the hard limit. The usual soft limit of 1,024 allows only a few hundred
/// streams.
pub fn raise_open_files() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    // If this fails, the current limit stays.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

/// The memory that this process may use, in bytes: the smallest of its own limits (`ulimit -v`, `-d`) and the limits of
/// its control groups. `None` if there is no limit.
pub fn memory() -> Option<u64> {
    let own = [Resource::As, Resource::Data].into_iter().filter_map(|resource| getrlimit(resource).current);
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    own.chain(group_memory(&groups, Path::new("/sys/fs/cgroup"))).min()
}

/// The smallest memory limit of the control groups in `/proc/self/cgroup` and of their ancestors. In a container, the
/// path may not exist under `root`; the container's limit is then in `root` itself.
fn group_memory(groups: &str, root: &Path) -> Option<u64> {
    let of_line = |line: &str| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        let (mount, file) = match controllers {
            "" => (root.to_owned(), "memory.max"),
            _ if controllers.split(',').any(|one| one == "memory") => (root.join("memory"), "memory.limit_in_bytes"),
            _ => return None,
        };
        let ancestors = Path::new(path.trim_start_matches('/')).ancestors();
        // "max" (no limit) does not parse as a number.
        ancestors.filter_map(|group| fs::read_to_string(mount.join(group).join(file)).ok()?.trim().parse().ok()).min()
    };
    groups.lines().filter_map(of_line).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_the_smallest_limit_of_the_control_groups() {
        let root = tempfile::tempdir().unwrap();
        let write = |file: &str, text: &str| {
            let path = root.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let of = |groups: &str| group_memory(groups, root.path());
        assert_eq!(of("0::/system.slice/tollgate.service\n"), None);
        write("system.slice/tollgate.service/memory.max", "max\n");
        assert_eq!(of("0::/system.slice/tollgate.service\n"), None);
        write("system.slice/memory.max", "500\n");
        assert_eq!(of("0::/system.slice/tollgate.service\n"), Some(500));
        write("memory/memory.limit_in_bytes", "700\n");
        write("memory/docker/abc/memory.limit_in_bytes", "9223372036854771712\n");
        assert_eq!(of("5:cpu,cpuacct:/docker/abc\n4:memory:/docker/abc\n0::/\n"), Some(700));
        assert_eq!(of("4:memory:/unseen\n"), Some(700));
        assert_eq!(of("nonsense"), None);
    }

    #[test]
    fn more_workers_leave_fewer_files_for_connections() {
        assert_eq!(Connections::within(1_000, 128), Connections { inference: 196, admin: 56 });
        assert_eq!(Connections::within(64, 1 << 20), Connections { inference: 1, admin: 1 });
    }

    #[test]
    fn connections_to_clients_and_upstreams_leave_the_reserved_files_free() {
        for (files, inference, admin) in [
            (64, 7, 2),
            (128, 28, 8),
            (1_000, 325, 93),
            (4_096, 1_680, 480),
            (20_000, 9_360, 1_024),
            (1 << 20, 523_648, 1_024),
            (u64::MAX, 1 << 20, 1_024),
            (0, 1, 1),
        ] {
            assert_eq!(Connections::within(files, 2), Connections { inference, admin }, "{files}");
        }
    }
}
