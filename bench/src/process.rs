//! What the server under test has used, from /proc (Linux).

use std::time::Duration;

use crate::BenchError;

/// Ticks of a second in /proc/<pid>/stat: 100 on every Linux architecture.
const TICKS_PER_SECOND: u64 = 100;

/// The server's process.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Process {
    pid: u32,
}

impl Process {
    pub(crate) fn new(pid: u32) -> Process {
        Process { pid }
    }

    /// CPU time of all its threads, in user and in kernel mode.
    pub(crate) fn cpu(self) -> Result<Duration, BenchError> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid))?;
        Ok(cpu_from_stat(&stat)
            .ok_or_else(|| std::io::Error::other("/proc/<pid>/stat has fewer fields than Linux writes"))?)
    }

    /// The most physical memory it ever held, in bytes.
    pub(crate) fn peak_memory(self) -> Result<u64, BenchError> {
        self.status_kilobytes("VmHWM:")
    }

    /// The physical memory it holds, in bytes.
    pub(crate) fn memory(self) -> Result<u64, BenchError> {
        self.status_kilobytes("VmRSS:")
    }

    fn status_kilobytes(self, field: &str) -> Result<u64, BenchError> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid))?;
        let kilobytes = status
            .lines()
            .find_map(|line| line.strip_prefix(field)?.trim().strip_suffix(" kB")?.parse::<u64>().ok())
            .ok_or_else(|| std::io::Error::other(format!("/proc/<pid>/status has no {field}")))?;
        Ok(kilobytes * 1024)
    }
}

fn cpu_from_stat(stat: &str) -> Option<Duration> {
    // The second field is the program's name in parentheses and may hold anything, parentheses too.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let (user, system): (u64, u64) = (fields.get(11)?.parse().ok()?, fields.get(12)?.parse().ok()?);
    Some(Duration::from_millis((user + system) * (1000 / TICKS_PER_SECOND)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_is_user_and_system_time() {
        let stat = "42 (a ) b) S 1 42 42 0 -1 4194304 500 0 0 0 150 50 0 0 20 0 4 0 100 1000 200 18446744073709551615";
        assert_eq!(cpu_from_stat(stat), Some(Duration::from_secs(2)));
        assert_eq!(cpu_from_stat("42 (short) S 1"), None);
    }

    #[test]
    fn this_process_uses_memory() {
        let me = Process::new(std::process::id());
        let (now, peak) = (me.memory().unwrap(), me.peak_memory().unwrap());
        assert!(now > 0 && peak >= now, "{now} of {peak}");
        me.cpu().unwrap();
    }
}
