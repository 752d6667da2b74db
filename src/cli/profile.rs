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
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::error::{Error, ErrorKind, ResultExt};
use crate::layer::Encoder;
use crate::spec::Compression;

use super::failure::Outcome;

/// Time between two looks.
const PERIOD: Duration = Duration::from_millis(10);

/// Where the kernel says what each thread of this process has used.
const THREADS: &str = "/proc/self/task";

/// Name of the time that no look saw a thread use.
const UNSEEN: &str = "threads that ended between two looks";

/// The step of the job that is under way, by the words of the log; empty between two steps.
pub type Step = Arc<Mutex<String>>;

/// A profile being taken.
pub struct Profile {
    path: String,
    file: File,
    stop: Sender<()>,
    sampler: JoinHandle<Samples>,
}

impl Profile {
    /// Starts to look; the file is made at once, so that a wrong path is known before the work.
    pub fn start(path: &str, step: &Step) -> Outcome<Self> {
        let context = || format!("create CPU profile {path}");
        let file = File::create(path).context(context)?;
        let mut samples = Samples::default();
        if !samples.look("") {
            let text = format!("no CPU times of threads in {THREADS}");
            return Err(Error::new(ErrorKind::Unsupported, text).context(context()).into());
        }
        let (stop, stopped) = channel();
        let step = Arc::clone(step);
        let sampler = std::thread::Builder::new()
            .name("umoci-profile".to_owned())
            .spawn(move || sample(samples, &step, &stopped))
            .context(context)?;
        Ok(Self {
            path: path.to_owned(),
            file,
            stop,
            sampler,
        })
    }

    /// Writes what was seen.
    pub fn finish(self) -> Outcome {
        let context = || format!("write CPU profile {}", self.path);
        // The sampler waits for this; it ends as well when there is nobody to tell it.
        let _ = self.stop.send(());
        let samples = self
            .sampler
            .join()
            .map_err(|_| Error::new(ErrorKind::Io, "the thread that takes it died").context(context()))?;
        let mut encoder = Encoder::new(self.file, Compression::Gzip)?;
        encoder.write_all(&samples.encode()).context(context)?;
        encoder.finish().context(context)?;
        Ok(())
    }
}

fn sample(mut samples: Samples, step: &Step, stopped: &Receiver<()>) -> Samples {
    let begun = Instant::now();
    samples.began = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    loop {
        let end = stopped.recv_timeout(PERIOD) != Err(RecvTimeoutError::Timeout);
        let now = step.lock().unwrap_or_else(PoisonError::into_inner).clone();
        samples.look(&now);
        if end {
            break;
        }
    }
    samples.lasted = begun.elapsed();
    let total = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    samples.fill(total.tv_sec as u64 * 1_000_000_000 + total.tv_nsec as u64);
    samples
}

/// CPU time by step and name of thread.
#[derive(Default, Debug)]
struct Samples {
    began: Duration,
    lasted: Duration,
    /// What each thread had used at the last look, in nanoseconds.
    threads: HashMap<OsString, u64>,
    /// Looks that saw use, and nanoseconds.
    used: BTreeMap<(String, String), (u64, u64)>,
}

impl Samples {
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
                self.add(step, name.as_deref().unwrap_or(UNSEEN).trim_end(), new);
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

    /// As a message `perftools.profiles.Profile`: each stack is thread, step, program.
    fn encode(&self) -> Vec<u8> {
        // The first is always empty.
        let mut strings = Names(vec![String::new()]);
        let mut kind = |field, kind: &str, unit: &str| {
            let kind = [number(1, strings.index(kind)), number(2, strings.index(unit))];
            bytes(field, &kind.concat())
        };
        let mut out = [
            kind(1, "samples", "count"),
            kind(1, "cpu", "nanoseconds"),
            kind(11, "cpu", "nanoseconds"),
            number(12, PERIOD.as_nanos() as u64),
            number(9, self.began.as_nanos() as u64),
            number(10, self.lasted.as_nanos() as u64),
        ]
        .concat();
        let mut places: BTreeMap<String, u64> = BTreeMap::new();
        for ((step, thread), (looks, time)) in &self.used {
            let label = if thread == UNSEEN { "" } else { "thread " };
            let mut stack = Vec::new();
            for name in [&format!("{label}{thread}"), step, "umoci"] {
                if !name.is_empty() {
                    let next = places.len() as u64 + 1;
                    stack.push(*places.entry(name.to_owned()).or_insert(next));
                }
            }
            out.extend(bytes(
                2,
                &[packed(1, &stack), packed(2, &[*looks, *time])].concat(),
            ));
        }
        // A place is one function without lines: number of the place, of the function and of its name's string.
        for (name, &id) in &places {
            out.extend(bytes(4, &[number(1, id), bytes(4, &number(1, id))].concat()));
            let name = strings.index(name);
            out.extend(bytes(
                5,
                &[number(1, id), number(2, name), number(3, name)].concat(),
            ));
        }
        out.extend(strings.0.iter().flat_map(|text| bytes(6, text.as_bytes())));
        out
    }
}

/// Strings that others refer to by their place.
struct Names(Vec<String>);

impl Names {
    fn index(&mut self, text: &str) -> u64 {
        let at = self.0.iter().position(|known| known == text);
        at.unwrap_or_else(|| {
            self.0.push(text.to_owned());
            self.0.len() - 1
        }) as u64
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

/// Returns a field of a message with a number.
fn number(field: u64, value: u64) -> Vec<u8> {
    [varint(field << 3), varint(value)].concat()
}

/// Returns a field of a message with a string or another message.
fn bytes(field: u64, value: &[u8]) -> Vec<u8> {
    [&varint(field << 3 | 2), &varint(value.len() as u64), value].concat()
}

/// Returns a field of a message with several numbers.
fn packed(field: u64, values: &[u64]) -> Vec<u8> {
    bytes(
        field,
        &values.iter().copied().flat_map(varint).collect::<Vec<_>>(),
    )
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
        samples.add("s", "t", 300);
        let want: &[&[u8]] = &[
            b"\x0a\x04\x08\x01\x10\x02\x0a\x04\x08\x03\x10\x04\x5a\x04\x08\x03\x10\x04",
            b"\x60\x80\xad\xe2\x04\x48\x00\x50\x00",
            b"\x12\x0a\x0a\x03\x01\x02\x03\x12\x03\x01\xac\x02",
            b"\x22\x06\x08\x02\x22\x02\x08\x02\x2a\x06\x08\x02\x10\x05\x18\x05",
            b"\x22\x06\x08\x01\x22\x02\x08\x01\x2a\x06\x08\x01\x10\x06\x18\x06",
            b"\x22\x06\x08\x03\x22\x02\x08\x03\x2a\x06\x08\x03\x10\x07\x18\x07",
            b"\x32\x00\x32\x07samples\x32\x05count\x32\x03cpu\x32\x0bnanoseconds",
            b"\x32\x01s\x32\x08thread t\x32\x05umoci",
        ];
        assert_eq!(samples.encode(), want.concat());
    }
}
