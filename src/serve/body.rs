// SPDX-License-Identifier: Apache-2.0
//! Bodies between the connection, which does not wait, and the handler, which does.
//!
//! The body of a request is read by a task and handed to the handler through a short queue; nothing is read before the handler
//! asks, so that a refusal comes before a large body. The body of an answer is a file that is read in pieces, the next one while
//! the last one is sent; of a file that still grows, each piece as it comes.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::answer::{BlobFile, Content};
use super::growth::Growth;
use super::service::Service;

/// Pieces of a body that wait for its handler.
const QUEUE: usize = 4;
/// Bytes of a file that are read at a time.
const PIECE: u64 = 256 * 1024;
/// Bytes that must come in a second, on the average.
const MIN_RATE: u64 = 1024;

/// A piece of the body of a request.
enum Piece {
    Data(Bytes),
    End,
}

/// The body of a request as its handler reads it.
struct Reader {
    /// Tells the task to begin.
    begin: Option<oneshot::Sender<()>>,
    pieces: mpsc::Receiver<Piece>,
    current: Bytes,
    is_over: bool,
}

impl Read for Reader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if let Some(begin) = self.begin.take() {
            // Without the task no piece comes, which is told below.
            let _ = begin.send(());
        }
        while self.current.is_empty() && !self.is_over {
            match self.pieces.blocking_recv() {
                Some(Piece::Data(data)) => self.current = data,
                Some(Piece::End) => self.is_over = true,
                None => return Err(io::ErrorKind::ConnectionAborted.into()),
            }
        }
        let n = self.current.len().min(buf.len());
        buf[..n].copy_from_slice(&self.current.split_to(n));
        Ok(n)
    }
}

/// Returns a reader of the body of a request, of which 1 KiB a second must come within each `window`.
pub(super) fn reader(body: Incoming, window: Duration, service: Arc<Service>) -> Box<dyn Read + Send> {
    if body.is_end_stream() {
        return Box::new(io::empty());
    }
    let (begin, begun) = oneshot::channel();
    let (sender, pieces) = mpsc::channel(QUEUE);
    tokio::spawn(async move {
        if begun.await.is_ok() {
            pump(body, window, &sender, &service).await;
        }
    });
    Box::new(Reader {
        begin: Some(begin),
        pieces,
        current: Bytes::new(),
        is_over: false,
    })
}

/// Hands a body on. Ends without [`Piece::End`] if the body breaks off, comes too slowly, or nobody wants it any more.
async fn pump(mut body: Incoming, window: Duration, sender: &mpsc::Sender<Piece>, service: &Service) {
    let least = MIN_RATE * window.as_secs().max(1);
    let (mut left, mut came) = (window, 0);
    loop {
        let asked = Instant::now();
        let next = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx));
        let Ok(frame) = tokio::time::timeout(left, next).await else {
            // The time for a while is over; a client that sent enough in it gets another one.
            if came < least {
                return;
            }
            (left, came) = (window, 0);
            continue;
        };
        // Time in which the disk was waited for is not counted.
        left = left.saturating_sub(asked.elapsed());
        match frame {
            None => {
                let _ = sender.send(Piece::End).await;
                return;
            }
            Some(Err(_)) => return,
            // Trailers say nothing here.
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    came += data.len() as u64;
                    service.metrics.received(data.len() as u64);
                    if sender.send(Piece::Data(data)).await.is_err() {
                        return;
                    }
                }
            }
        }
    }
}

/// The line of the log for a request, which is written when the answer has been sent.
pub(super) struct LogEntry {
    pub service: Arc<Service>,
    /// Client, user, method and path.
    pub request: String,
    pub status: u16,
    pub begun: Instant,
    pub fault: Option<String>,
}

/// The body of an answer.
pub(super) struct AnswerBody {
    content: Source,
    /// Bytes that were handed on, and bytes in all.
    sent: u64,
    length: u64,
    log: LogEntry,
}

enum Source {
    Bytes(Bytes),
    File {
        file: BlobFile,
        /// Offset of the next piece to be read, and of the end.
        next: u64,
        end: u64,
        reading: Option<JoinHandle<io::Result<Bytes>>>,
    },
}

impl AnswerBody {
    pub fn new(content: Content, log: LogEntry) -> Self {
        let (content, length) = match content {
            Content::Bytes(bytes) => {
                let length = bytes.len() as u64;
                (Source::Bytes(bytes), length)
            }
            Content::Length(_) => (Source::Bytes(Bytes::new()), 0),
            Content::File { file, offset, length } => {
                let source = Source::File {
                    file,
                    next: offset,
                    end: offset + length,
                    reading: None,
                };
                (source, length)
            }
        };
        Self {
            content,
            sent: 0,
            length,
            log,
        }
    }
}

/// Begins to read the next piece of a file, if there is one.
fn read_next(blob: &BlobFile, next: u64, end: u64) -> Option<JoinHandle<io::Result<Bytes>>> {
    if next >= end {
        return None;
    }
    let file = Arc::clone(&blob.file);
    Some(match blob.growth.clone() {
        None => tokio::task::spawn_blocking(move || read_piece(&file, next, end)),
        Some(growth) => tokio::spawn(read_grown(file, growth, next, end)),
    })
}

/// Reads a piece of a file from `offset` to at most `end`.
fn read_piece(file: &File, offset: u64, end: u64) -> io::Result<Bytes> {
    let size = PIECE.min(end - offset);
    let mut piece = vec![0; usize::try_from(size).unwrap_or_default()];
    file.read_exact_at(&mut piece, offset)?;
    Ok(piece.into())
}

/// Waits until a file has grown beyond `offset`, and reads a piece as far as it has.
async fn read_grown(file: Arc<File>, mut growth: Growth, offset: u64, end: u64) -> io::Result<Bytes> {
    let end = end.min(growth.beyond(offset).await?);
    let read = tokio::task::spawn_blocking(move || read_piece(&file, offset, end));
    read.await.map_err(io::Error::other)?
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = self.get_mut();
        let piece = match &mut this.content {
            Source::Bytes(bytes) => std::mem::take(bytes),
            Source::File {
                file,
                next,
                end,
                reading,
            } => {
                if reading.is_none() {
                    *reading = read_next(file, *next, *end);
                }
                match reading {
                    None => Bytes::new(),
                    Some(read) => {
                        let piece = ready!(Pin::new(read).poll(cx)).map_err(io::Error::other)??;
                        // The next piece is read while this one is sent.
                        *next += piece.len() as u64;
                        *reading = read_next(file, *next, *end);
                        piece
                    }
                }
            }
        };
        if piece.is_empty() {
            return Poll::Ready(None);
        }
        this.sent += piece.len() as u64;
        this.log.service.metrics.sent(piece.len() as u64);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.sent == self.length
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.length - self.sent)
    }
}

impl Drop for AnswerBody {
    /// Writes the line of the log: the answer has been sent, or the client is gone.
    fn drop(&mut self) {
        let log = &self.log;
        let broken = if self.sent < self.length {
            format!(" of {}", self.length)
        } else {
            String::new()
        };
        let fault = log.fault.as_ref().map(|fault| format!(": {fault}"));
        (log.service.log)(&format!(
            "{} {} {} ms {} bytes{broken}{}",
            log.request,
            log.status,
            log.begun.elapsed().as_millis(),
            self.sent,
            fault.unwrap_or_default()
        ));
    }
}
