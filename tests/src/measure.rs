//! What this process has used of the machine.

/// Seconds of the processor that this process has used, and the most memory it has had, in MB.
pub fn used() -> (f64, u64) {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    let ticks = |i: usize| fields.get(i).and_then(|f| f.parse::<f64>().ok()).unwrap_or(0.0);
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).and_then(|l| l.split_whitespace().next());
    ((ticks(11) + ticks(12)) / 100.0, peak.and_then(|p| p.parse::<u64>().ok()).unwrap_or(0) / 1024)
}
