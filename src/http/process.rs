//! What the operating system knows of this process: <https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html>.

use std::fs;

use rustix::{
    param::{clock_ticks_per_second, page_size},
    process::{Resource, getrlimit},
};

/// What the operating system knows of this process.
#[derive(Debug, PartialEq)]
pub(super) struct Process {
    /// Of all its threads.
    pub(super) cpu_seconds: f64,
    pub(super) resident_bytes: u64,
    pub(super) open_files: u64,
    pub(super) max_files: Option<u64>,
    /// Seconds since 1970.
    pub(super) started_at: f64,
}

impl Process {
    /// Of now; `None` where there is no `/proc`.
    pub(super) fn read() -> Option<Self> {
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        // The name of the program, in parentheses, may have spaces.
        let fields: Vec<u64> =
            stat.rsplit_once(") ")?.1.split(' ').map(|field| field.trim().parse().unwrap_or_default()).collect();
        // The manual counts from 1, and the first one here is the third.
        let field = |number: usize| fields.get(number - 3).copied();
        let seconds =
            |ticks: u64| std::time::Duration::from_millis(ticks * 1_000 / clock_ticks_per_second()).as_secs_f64();
        let boot = fs::read_to_string("/proc/stat").ok()?;
        let boot: u32 = boot.lines().find_map(|line| line.strip_prefix("btime "))?.parse().ok()?;
        Some(Self {
            cpu_seconds: seconds(field(14)? + field(15)?),
            resident_bytes: field(24)? * page_size() as u64,
            open_files: fs::read_dir("/proc/self/fd").ok()?.count() as u64,
            max_files: getrlimit(Resource::Nofile).current,
            started_at: f64::from(boot) + seconds(field(22)?),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::{SystemTime, UNIX_EPOCH};

    use super::*;

    #[test]
    fn this_process_is_known() {
        let process = Process::read().unwrap();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        // The time of the start is known to the second.
        assert!((0.0..600.0).contains(&(now - process.started_at + 1.0)), "{process:?}");
        assert!(process.resident_bytes > 1_000_000 && process.open_files > 2, "{process:?}");
        assert!(process.max_files.is_none_or(|max| max > process.open_files), "{process:?}");
        assert!((0.0..10_000.0).contains(&process.cpu_seconds), "{process:?}");
    }
}
