// SPDX-License-Identifier: Apache-2.0
//! `--cpu-profile`: which step of the job and which thread used how much CPU, in the form that `go tool pprof` reads.
//!
//! A thread of its own looks every 10 ms at what the kernel counts for each thread. Invariant: all CPU time of the
//! process is in the profile, once. There are no frames of functions in it: those take a signal handler, and that takes
//! unsafe code. The steps are those that `--log=info` names.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::fs::File;
use std::io::Write;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::error::{Result, ResultExt};
use crate::layer::Encoder;
use crate::spec::Compression;

use super::failure::Outcome;
use super::ui::Ui;

/// Time between two looks.
const PERIOD: Duration = Duration::from_millis(10);

/// Directory in which the kernel tells how much each thread of this process has used.
const THREADS: &str = "/proc/self/task";

/// Name of the time that no look saw a thread use.
const UNSEEN: &str = "threads that ended between two looks";

/// Runs `work`, and writes to the file at `path` which CPU time it used.
pub fn record(path: &str, ui: &Ui, work: impl FnOnce() -> Outcome) -> Outcome {
    // A wrong path, or a system without these counts, is known before the work.
    let file = File::create(path).context(|| format!("create CPU profile {path}"))?;
    let mut samples = Samples::default();
    if !samples.look("") {
        let text = format!("create CPU profile {path}: no CPU times of threads in {THREADS}");
        fail!(Unsupported, "{text}");
    }
    let (stop, stopped) = channel();
    let outcome = thread::scope(|scope| {
        thread::Builder::new()
            .name("umoci-profile".to_owned())
            .spawn_scoped(scope, || {
                let stopped = stopped;
                samples.take(ui, &stopped)
            })
            .context(|| format!("create CPU profile {path}"))?;
        let outcome = work();
        // The sampler ends once nobody can tell it to. It does so after a panic of the work too, for which the scope waits.
        drop(stop);
        outcome
    });
    // A run that failed has its profile too, but its own error counts.
    let written = samples.write(file);
    outcome.and(written.map_err(|err| err.context(format!("write CPU profile {path}")).into()))
}

/// CPU time by step and name of thread.
#[derive(Default, Debug)]
struct Samples {
    began: Duration,
    lasted: Duration,
    /// Nanoseconds that each thread had used at the last look.
    threads: HashMap<OsString, u64>,
    /// Count of looks that saw use, and nanoseconds.
    used: BTreeMap<(String, String), (u64, u64)>,
}

impl Samples {
    /// Looks at all threads again and again, until the other end of `stopped` is gone.
    fn take(&mut self, ui: &Ui, stopped: &Receiver<()>) {
        let begun = Instant::now();
        self.began = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        while stopped.recv_timeout(PERIOD) == Err(RecvTimeoutError::Timeout) {
            self.look(&ui.step());
        }
        // The last look takes what was used since the one before.
        self.look(&ui.step());
        self.lasted = begun.elapsed();
        let total = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        self.fill(total.tv_sec as u64 * 1_000_000_000 + total.tv_nsec as u64);
    }

    /// Writes the profile, compressed as the format asks.
    fn write(&self, file: File) -> Result<()> {
        let mut encoder = Encoder::new(file, Compression::Gzip)?;
        encoder.write_all(&self.encode())?;
        encoder.finish()?;
        Ok(())
    }

    /// Looks at all threads; `false` if there is nothing to see.
    fn look(&mut self, step: &str) -> bool {
        let mut seen = HashMap::new();
        for entry in std::fs::read_dir(THREADS).into_iter().flatten().flatten() {
            // A thread may end between two of these.
            let stat = std::fs::read_to_string(entry.path().join("schedstat")).unwrap_or_default();
            let Some(total) = stat.split(' ').next().and_then(|n| n.parse::<u64>().ok()) else {
                continue;
            };
            let before = self.threads.get(&entry.file_name()).copied().unwrap_or(0);
            // Less than before: another thread has got the number.
            let new = total.checked_sub(before).unwrap_or(total);
            if new > 0 {
                let name = std::fs::read_to_string(entry.path().join("comm"));
                let name = name.map(|name| format!("thread {}", name.trim_end()));
                self.add(step, name.as_deref().unwrap_or(UNSEEN), new);
            }
            seen.insert(entry.file_name(), total);
        }
        self.threads = seen;
        !self.threads.is_empty()
    }

    fn add(&mut self, step: &str, thread: &str, nanoseconds: u64) {
        let (looks, time) = self.used.entry((step.to_owned(), thread.to_owned())).or_default();
        *looks += 1;
        *time += nanoseconds;
    }

    /// Adds what is missing to the CPU time of the process.
    fn fill(&mut self, total: u64) {
        let seen: u64 = self.used.values().map(|(_, time)| time).sum();
        if let Some(rest @ 1..) = total.checked_sub(seen) {
            self.add("", UNSEEN, rest);
        }
    }

    /// Encodes a message `perftools.profiles.Profile`, in which each stack is thread, step, program.
    fn encode(&self) -> Vec<u8> {
        // One number stands for a name's string, the function of that name, and the place in that function: stacks are lists of
        // places. The first string is always empty.
        let mut names = vec!["", "samples", "count", "cpu", "nanoseconds"];
        let mut out = Vec::new();
        for (field, kind, unit) in [(1, 1, 2), (1, 3, 4), (11, 3, 4)] {
            out.extend(message(field, &[(1, kind), (2, unit)]));
        }
        out.extend(number(12, PERIOD.as_nanos() as u64));
        out.extend(number(9, self.began.as_nanos() as u64));
        out.extend(number(10, self.lasted.as_nanos() as u64));
        for ((step, thread), (looks, time)) in &self.used {
            let mut sample = vec![(2, *looks), (2, *time)];
            // No step is known between two steps.
            for name in [thread.as_str(), step, "umoci"]
                .into_iter()
                .filter(|name| !name.is_empty())
            {
                let known = names.iter().position(|known| *known == name);
                if known.is_none() {
                    names.push(name);
                }
                sample.push((1, known.unwrap_or(names.len() - 1) as u64));
            }
            out.extend(message(2, &sample));
        }
        for id in 1..names.len() as u64 {
            let line = message(4, &[(1, id)]);
            out.extend(bytes(4, &[number(1, id), line].concat()));
            out.extend(message(5, &[(1, id), (2, id), (3, id)]));
        }
        out.extend(names.iter().flat_map(|name| bytes(6, name.as_bytes())));
        out
    }
}

/// Returns a number as protocol buffers have it: seven bits a byte, the lowest first.
fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

/// Returns a field with a number.
fn number(field: u64, value: u64) -> Vec<u8> {
    [varint(field << 3), varint(value)].concat()
}

/// Returns a field with a string or another message.
fn bytes(field: u64, value: &[u8]) -> Vec<u8> {
    [&varint(field << 3 | 2), &varint(value.len() as u64), value].concat()
}

/// Returns a field with a message that has numbers alone, by their own fields; one that repeats need not be packed.
fn message(field: u64, numbers: &[(u64, u64)]) -> Vec<u8> {
    let numbers = numbers.iter().flat_map(|&(field, value)| number(field, value));
    bytes(field, &numbers.collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_time_is_in_the_profile_once() {
        let mut samples = Samples::default();
        samples.add("unpack", "umoci-hash", 30);
        samples.add("unpack", "umoci-hash", 20);
        samples.fill(70);
        samples.fill(70);
        let sum: u64 = samples.used.values().map(|(_, time)| time).sum();
        assert_eq!(sum, 70);
        assert_eq!(
            samples.used[&("unpack".to_owned(), "umoci-hash".to_owned())],
            (2, 50)
        );
        assert_eq!(samples.used[&(String::new(), UNSEEN.to_owned())], (1, 20));
    }

    #[test]
    fn a_look_sees_this_thread() {
        let mut samples = Samples::default();
        assert!(samples.look("step"));
        assert!(
            samples
                .used
                .keys()
                .all(|(step, thread)| step == "step" && !thread.is_empty())
        );
        assert!(samples.used.values().any(|&(looks, time)| looks == 1 && time > 0));
    }

    #[test]
    fn the_message_has_the_bytes_of_its_definition() {
        let mut samples = Samples::default();
        samples.add("s", "thread t", 300);
        let names = [
            "",
            "samples",
            "count",
            "cpu",
            "nanoseconds",
            "thread t",
            "s",
            "umoci",
        ];
        let mut want = [
            &b"\x0a\x04\x08\x01\x10\x02\x0a\x04\x08\x03\x10\x04\x5a\x04\x08\x03\x10\x04"[..],
            b"\x60\x80\xad\xe2\x04\x48\x00\x50\x00",
            b"\x12\x0b\x10\x01\x10\xac\x02\x08\x05\x08\x06\x08\x07",
        ]
        .concat();
        for id in 1..8 {
            want.extend([0x22, 6, 8, id, 0x22, 2, 8, id, 0x2a, 6, 8, id, 16, id, 24, id]);
        }
        for name in names {
            want.extend([&[0x32, name.len() as u8], name.as_bytes()].concat());
        }
        assert_eq!(samples.encode(), want);
    }
}
