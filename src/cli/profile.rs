// SPDX-License-Identifier: Apache-2.0
//! `--cpu-profile`: which step of the job and which thread used how much CPU, in the form that `go tool pprof` reads.
//!
//! A thread of its own looks every 10 ms at what the kernel counts for each thread. Invariant: all CPU time of the
//! process is in the profile, once. There are no frames of functions in it: those take a signal handler, and that takes
//! unsafe code. The steps are those that `--log=info` names.

use std::collections::{BTreeMap, HashMap};
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
        Ok(encoder
            .finish()
            .and_then(|mut file| Ok(file.flush()?))
            .context(context)?)
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
    threads: HashMap<u32, u64>,
    /// Looks that saw use, and nanoseconds.
    used: BTreeMap<(String, String), (u64, u64)>,
}

impl Samples {
    /// Looks at all threads; `false` if there is nothing to see.
    fn look(&mut self, step: &str) -> bool {
        let read = |tid: u32, file: &str| std::fs::read_to_string(format!("{THREADS}/{tid}/{file}"));
        let Ok(threads) = std::fs::read_dir(THREADS) else {
            return false;
        };
        let mut seen = HashMap::new();
        for entry in threads.flatten() {
            let Some(tid) = entry.file_name().to_str().and_then(|t| t.parse().ok()) else {
                continue;
            };
            // A thread may end between two of these.
            let Ok(stat) = read(tid, "schedstat") else {
                continue;
            };
            let Some(total) = stat.split_ascii_whitespace().next().and_then(|n| n.parse().ok()) else {
                continue;
            };
            seen.insert(tid, total);
            let before = self.threads.get(&tid).copied().unwrap_or(0);
            // Less than before: another thread has got the number.
            let new = if total < before { total } else { total - before };
            if new > 0 {
                let name = read(tid, "comm").unwrap_or_else(|_| UNSEEN.to_owned());
                self.add(step, name.trim_end(), new);
            }
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
        let mut profile = Message::default();
        // The first is always empty.
        let mut strings = vec![String::new()];
        let mut kind = |kind: &str, unit: &str| {
            let kind = Message::default().number(1, index(&mut strings, kind));
            kind.number(2, index(&mut strings, unit))
        };
        profile = profile
            .message(1, &kind("samples", "count"))
            .message(1, &kind("cpu", "nanoseconds"))
            .message(11, &kind("cpu", "nanoseconds"))
            .number(12, PERIOD.as_nanos() as u64)
            .number(9, self.began.as_nanos() as u64)
            .number(10, self.lasted.as_nanos() as u64);
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
            let sample = Message::default().packed(1, &stack).packed(2, &[*looks, *time]);
            profile = profile.message(2, &sample);
        }
        // A place is one function without lines: number of the place, of the function and of its name's string.
        for (name, &id) in &places {
            let line = Message::default().number(1, id);
            profile = profile.message(4, &Message::default().number(1, id).message(4, &line));
            let name = index(&mut strings, name);
            let function = Message::default().number(1, id).number(2, name).number(3, name);
            profile = profile.message(5, &function);
        }
        for text in &strings {
            profile = profile.bytes(6, text.as_bytes());
        }
        profile.0
    }
}

/// Returns the number of a string in the table of them, which has it from now on.
fn index(strings: &mut Vec<String>, text: &str) -> u64 {
    let at = strings.iter().position(|known| known == text).unwrap_or_else(|| {
        strings.push(text.to_owned());
        strings.len() - 1
    });
    at as u64
}

/// A message of protocol buffers.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn number(mut self, field: u64, value: u64) -> Self {
        self.varint(field << 3);
        self.varint(value);
        self
    }

    fn bytes(mut self, field: u64, value: &[u8]) -> Self {
        self.varint(field << 3 | 2);
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
        self
    }

    fn message(self, field: u64, value: &Message) -> Self {
        self.bytes(field, &value.0)
    }

    fn packed(self, field: u64, values: &[u64]) -> Self {
        let mut packed = Message::default();
        for &value in values {
            packed.varint(value);
        }
        self.message(field, &packed)
    }
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
