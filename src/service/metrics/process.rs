//! The figures of this process, from the operating system.

use std::fs;

use rustix::time::{ClockId, clock_gettime};

use crate::process_limits;

/// The figures of this process. A figure is `None` if the system does not tell it.
pub(super) struct ProcessFigures {
    pub(super) cpu_seconds: f64,
    pub(super) open_files: Option<u64>,
    pub(super) max_files: u64,
    pub(super) virtual_bytes: Option<u64>,
    pub(super) resident_bytes: Option<u64>,
}

impl ProcessFigures {
    pub(super) fn read() -> Self {
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        Self {
            cpu_seconds: cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9,
            // One of them is the directory itself, which is open while it is read.
            open_files: fs::read_dir("/proc/self/fd").ok().map(|files| (files.count() as u64).saturating_sub(1)),
            max_files: process_limits::open_files(),
            virtual_bytes: bytes(&status, "VmSize:"),
            resident_bytes: bytes(&status, "VmRSS:"),
        }
    }
}

/// Reads a line such as `VmRSS:     41236 kB`.
fn bytes(status: &str, name: &str) -> Option<u64> {
    let kilobytes = status.lines().find_map(|line| line.strip_prefix(name)?.trim().strip_suffix(" kB"))?;
    kilobytes.parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_tells_all_figures_of_this_process() {
        let figures = ProcessFigures::read();
        assert!(figures.cpu_seconds > 0.0);
        assert!(figures.open_files.is_some_and(|files| (3..figures.max_files).contains(&files)));
        let resident = figures.resident_bytes.unwrap();
        assert!(resident > 1 << 20 && figures.virtual_bytes.is_some_and(|all| all >= resident));
    }
}
