//! What the system says about a process.

use std::time::Duration;

/// Processor time, user and system, of a process (`"self"` for this one) since its start.
pub fn cpu_time(process: &str) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    // The name, in parentheses, may hold anything; fields are counted after it.
    let fields: Vec<&str> = stat
        .rsplit_once(')')
        .unwrap()
        .1
        .split_ascii_whitespace()
        .collect();
    let ticks: u64 = [fields[11], fields[12]]
        .iter()
        .map(|field| field.parse::<u64>().unwrap())
        .sum();
    // Linux shows 100 ticks a second to user space whatever it counts with.
    Duration::from_millis(ticks * 10)
}

/// Processor time of the calling thread since its start, to the nanosecond.
pub fn thread_cpu_time() -> Duration {
    let schedstat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    let running = schedstat.split_ascii_whitespace().next().unwrap();
    Duration::from_nanos(running.parse().unwrap())
}

/// Resident memory of a process, in bytes.
pub fn resident_bytes(process: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    let kibibytes = line.trim().trim_end_matches(" kB");
    kibibytes.parse::<u64>().unwrap() * 1024
}
