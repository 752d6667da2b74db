// SPDX-License-Identifier: Apache-2.0
//! A gzip with checkpoints, decoded on all cores. The blob is read once, in order, by one thread; others decode the texts between two
//! checkpoints, which are taken if they prove right: see the module's comment for why that is safe.

use std::collections::VecDeque;
use std::io::{self, BufReader, Cursor, Read};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::{Builder, available_parallelism, scope};

use super::Gunzip;
use super::checkpoints::{Checkpoint, Checkpoints};
use super::gunzip::Stop;
use super::joint::{Finder, Found, LONG_PROBE, LOOKAHEAD, PROBE, WINDOW};
use super::record::Tail;
use crate::error::{Result, ResultExt as _};
use crate::layer::chunk::{Buffers, CHUNK, Chunk};

/// Maximum number of threads that decode one layer.
const MAX_THREADS: usize = 8;

/// Maximum bytes of text, and of the blob, between two checkpoints that are decoded side by side; where there is more, decoding goes on
/// in order.
const MAX_SPAN: u64 = 32 << 20;

/// Maximum bytes of text that are decoded ahead.
const MAX_AHEAD: u64 = 64 << 20;

/// Text between two checkpoints on its way to be decoded.
struct Job {
    /// Number of the checkpoint at which it ends.
    end: usize,
    /// The bytes of the blob, and as many behind them as prove where they end.
    blob: Arc<Vec<u8>>,
    /// Takes the text; nothing if it does not prove right.
    done: SyncSender<Option<Vec<Arc<Chunk>>>>,
}

/// A job that runs.
struct Running {
    blob: Arc<Vec<u8>>,
    /// Bytes of it up to where the next one begins.
    own: usize,
    /// Bytes of its text.
    text: u64,
    done: Receiver<Option<Vec<Arc<Chunk>>>>,
}

/// A gzip that is decoded on all cores as far as its checkpoints go.
pub(in crate::layer) struct Spans<'a, R> {
    blob: R,
    points: &'a Checkpoints,
    /// Bytes of the blob that were read beyond the last job.
    ahead: Vec<u8>,
    running: VecDeque<Running>,
    /// Number of the checkpoint at which the next job ends.
    next: usize,
}

/// The text behind the last checkpoint that proved right.
pub(in crate::layer) struct Text<R> {
    /// The reader of it.
    pub(in crate::layer) text: Gunzip<R>,
    /// True if there are checkpoints behind that did not prove right.
    pub(in crate::layer) is_stale: bool,
}

/// Rest of a blob.
type Rest<R> = BufReader<io::Chain<Cursor<Vec<u8>>, R>>;

impl<'a, R: Read> Spans<'a, R> {
    /// Takes the checkpoints of the gzip that `blob` is.
    pub(in crate::layer) fn new(blob: R, points: &'a Checkpoints) -> Self {
        Self {
            blob,
            points,
            ahead: Vec::new(),
            running: VecDeque::new(),
            next: 0,
        }
    }

    /// Gives the text to `give`, in order, as far as the checkpoints prove right; returns the reader of the rest. `None` once `give`
    /// returns `false`.
    ///
    /// # Errors
    /// Those of the blob, and of starting threads.
    pub(in crate::layer) fn decode(
        mut self,
        give: &mut dyn FnMut(Arc<Chunk>) -> bool,
    ) -> Result<Option<Text<Rest<R>>>> {
        let threads = available_parallelism().map_or(1, usize::from).min(MAX_THREADS);
        let points = self.points;
        let (jobs, queue) = channel();
        let queue = Mutex::new(queue);
        let proven = scope(|scope| -> Result<Option<usize>> {
            // The queue ends with this scope, and the threads with the queue.
            let jobs = jobs;
            for _ in 0..threads {
                Builder::new()
                    .name("umoci-inflate".to_owned())
                    .spawn_scoped(scope, || work(points, &queue))
                    .context(|| "start a thread")?;
            }
            let mut proven = 0;
            loop {
                while self.running.len() <= threads && self.begin_next(&jobs)? {}
                let Some(running) = self.running.front() else {
                    return Ok(Some(proven));
                };
                let Ok(Some(text)) = running.done.recv() else {
                    return Ok(Some(proven));
                };
                if !text.into_iter().all(&mut *give) {
                    return Ok(None);
                }
                self.running.pop_front();
                proven += 1;
            }
        })?;
        proven.map(|proven| self.rest(proven)).transpose()
    }

    /// Reads the bytes of the next job and puts it into the queue; `false` if there is none, or it is too large.
    fn begin_next(&mut self, jobs: &Sender<Job>) -> Result<bool> {
        let Some(end) = self.points.points.get(self.next) else {
            return Ok(false);
        };
        let start = start_of(self.points, self.next);
        let span = end.input.saturating_sub(start.input);
        let text = end.output.saturating_sub(start.output);
        let ahead: u64 = self.running.iter().map(|running| running.text).sum();
        let is_small = span <= MAX_SPAN && text <= MAX_SPAN;
        if !is_small || ahead + text > MAX_AHEAD {
            return Ok(false);
        }
        let mut blob = std::mem::take(&mut self.ahead);
        let want = (span as usize + LOOKAHEAD).saturating_sub(blob.len());
        (&mut self.blob).take(want as u64).read_to_end(&mut blob)?;
        let own = (span as usize).min(blob.len());
        self.ahead = blob[own..].to_vec();
        let blob = Arc::new(blob);
        let (done, made) = sync_channel(1);
        self.running.push_back(Running {
            blob: Arc::clone(&blob),
            own,
            text,
            done: made,
        });
        let job = Job {
            end: self.next,
            blob,
            done,
        };
        self.next += 1;
        Ok(jobs.send(job).is_ok())
    }

    /// Begins at the last checkpoint that proved right.
    fn rest(self, proven: usize) -> Result<Text<Rest<R>>> {
        let is_stale = proven < self.next;
        let mut read = Vec::new();
        for running in &self.running {
            read.extend_from_slice(&running.blob[..running.own]);
        }
        read.extend_from_slice(&self.ahead);
        let input = BufReader::with_capacity(CHUNK, Cursor::new(read).chain(self.blob));
        let text = start_of(self.points, proven).resume(input)?;
        Ok(Text { text, is_stale })
    }
}

/// Returns the place at which the text before a checkpoint begins.
fn start_of(points: &Checkpoints, end: usize) -> Checkpoint {
    let before = end.checked_sub(1).and_then(|number| points.points.get(number));
    before.cloned().unwrap_or_else(Checkpoint::start)
}

/// Decodes jobs until there are no more.
fn work(points: &Checkpoints, queue: &Mutex<Receiver<Job>>) {
    let buffers = Buffers::new();
    let mut finder = Finder::new();
    loop {
        // Only the threads of one layer share the lock, and none dies with it.
        let Ok(Ok(job)) = queue.lock().map(|queue| queue.recv()) else {
            return;
        };
        let text = points.points.get(job.end).and_then(|end| {
            let start = start_of(points, job.end);
            // An error is told by the decoder that comes after.
            decode(&start, end, &job.blob, &buffers, &mut finder)
                .ok()
                .flatten()
        });
        let _ = job.done.send(text);
    }
}

/// Decodes the text from one place to the next; `None` if that is not where it ends.
fn decode(
    start: &Checkpoint,
    end: &Checkpoint,
    blob: &[u8],
    buffers: &Buffers,
    finder: &mut Finder,
) -> io::Result<Option<Vec<Arc<Chunk>>>> {
    let window = match &start.inside {
        Some(inside) => inside.window.window()?,
        None => Vec::new(),
    };
    let mut tail = Tail::new(window);
    let mut gunzip = start.resume(blob)?;
    let mut chunks = Vec::new();
    let (mut data, mut length) = (buffers.take(), 0);
    let mut left = (end.output - start.output) as usize;
    loop {
        // Room and text that is left are never equal: an end of a block just where the room ends would be passed over.
        let mut room = CHUNK - length;
        if room == left {
            room /= 2;
        }
        if room == 0 {
            chunks.push(buffers.chunk(std::mem::replace(&mut data, buffers.take()), length));
            length = 0;
            continue;
        }
        // Each stop costs a little: they are of interest near the end only.
        let (n, stop) = gunzip.step(&mut data[length..length + room], left <= CHUNK)?;
        if n > left {
            return Ok(None);
        }
        left -= n;
        if left < WINDOW {
            tail.add(&data[length..length + n]);
        }
        length += n;
        if matches!(stop, Stop::Member | Stop::End) {
            tail.clear();
        }
        if left == 0 && is_end(&gunzip, stop, end) {
            chunks.push(buffers.chunk(data, length));
            let proves = proves(gunzip, tail.window(), blob, start, end, finder)?;
            return Ok(proves.then_some(chunks));
        }
        if stop == Stop::End {
            return Ok(None);
        }
    }
}

/// Returns whether a decoder that stopped for this reason has used the bytes before a place, and no others.
fn is_end(gunzip: &Gunzip<&[u8]>, stop: Stop, place: &Checkpoint) -> bool {
    match &place.inside {
        None => stop == Stop::Member && gunzip.used == place.input,
        Some(inside) => stop == Stop::Block && gunzip.used == place.input + u64::from(inside.bit > 0),
    }
}

/// Returns whether a decoder that has used the bytes before a place, and made text that ends with `window`, is in just the state
/// that the place tells.
fn proves(
    mut gunzip: Gunzip<&[u8]>,
    window: &[u8],
    blob: &[u8],
    start: &Checkpoint,
    end: &Checkpoint,
    finder: &mut Finder,
) -> io::Result<bool> {
    let Some(inside) = &end.inside else {
        return Ok(true);
    };
    if gunzip.sum != inside.sum || inside.window.window()? != window {
        return Ok(false);
    }
    let last = gunzip.last;
    let next = blob
        .get((gunzip.used - start.input) as usize..)
        .unwrap_or_default();
    let mut text = vec![0; LONG_PROBE];
    let mut made = 0;
    for wanted in [PROBE, LONG_PROBE] {
        while made < wanted {
            let (n, stop) = gunzip.step(&mut text[made..wanted], false)?;
            made += n;
            if matches!(stop, Stop::Member | Stop::End) {
                return Ok(false);
            }
        }
        if let Found::Bit(bit) = finder.find(window, last, next, &text[..wanted]) {
            return Ok(bit == inside.bit);
        }
    }
    Ok(false)
}
