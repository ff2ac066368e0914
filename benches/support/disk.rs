//! What the disk alone costs.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// What it costs to make 4 KiB durable, so many times and at that many a second.
pub fn fsyncs(folder: &Path, times: u32, rate: u32) -> Vec<Duration> {
    let file = File::create(folder.join("fsync")).unwrap();
    file.write_all_at(&vec![1; 1 << 20], 0).unwrap();
    file.sync_all().unwrap();
    let begun = Instant::now();
    (0..times)
        .map(|round| {
            let due = begun + Duration::from_secs(1) / rate * round;
            thread::sleep(due.saturating_duration_since(Instant::now()));
            let page = vec![u8::try_from(round % 251).unwrap(); 4096];
            let begun = Instant::now();
            file.write_all_at(&page, u64::from(round % 256) * 4096)
                .unwrap();
            file.sync_data().unwrap();
            begun.elapsed()
        })
        .collect()
}
