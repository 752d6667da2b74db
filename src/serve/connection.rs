// SPDX-License-Identifier: Apache-2.0
//! One connection: its requests are handed to the service on threads that may wait, and it ends where a client stalls.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper::body::Incoming;
use hyper::header::{CONNECTION, CONTENT_LENGTH, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;
use tokio::time::Sleep;

use super::answer::{Answer, Code, Content, Refusal};
use super::body::{AnswerBody, LogEntry, reader};
use super::request::Request;
use super::service::{Answered, Service};

/// Maximum size of the head of a request in bytes, and of its number of headers.
const MAX_HEAD: usize = 64 * 1024;
const MAX_HEADERS: usize = 100;

/// Settings of a connection.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    pub header_timeout: Duration,
    pub body_window: Duration,
}

/// Answers the requests of a connection until it ends or `stop` says so.
pub(super) async fn run<S>(
    stream: S,
    client: IpAddr,
    service: Arc<Service>,
    limits: Limits,
    mut stop: watch::Receiver<bool>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let io = TokioIo::new(Guarded::new(stream, limits.body_window));
    let handler = service_fn(move |request| answer(request, client, Arc::clone(&service), limits));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_HEADERS)
        .serve_connection(io, handler);
    let mut connection = std::pin::pin!(connection);
    // The end of a connection is the client's doing; its requests are in the log.
    tokio::select! {
        _ = connection.as_mut() => return,
        _ = stop.wait_for(|stop| *stop) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = connection.await;
}

/// Answers one request.
async fn answer(
    request: hyper::Request<Incoming>,
    client: IpAddr,
    service: Arc<Service>,
    limits: Limits,
) -> Result<Response<AnswerBody>, Infallible> {
    let begun = Instant::now();
    let (head, body) = request.into_parts();
    let label = format!("{} {}", head.method, head.uri.path());
    let request = Request {
        method: head.method,
        path: head.uri.path().to_owned(),
        query: head.uri.query().unwrap_or_default().to_owned(),
        headers: head.headers,
        client,
        body: reader(body, limits.body_window, Arc::clone(&service)),
    };
    let worker = Arc::clone(&service);
    let work = tokio::task::spawn_blocking(move || worker.answer(request)).await;
    let Answered { answer, user } = work.unwrap_or_else(|err| Answered {
        answer: Answer {
            fault: Some(format!("the handler failed: {err}")),
            ..Refusal::new(Code::Unknown, "the server failed; its log says why").into_answer()
        },
        user: None,
    });
    let status = answer.status;
    service
        .metrics
        .answer(status.as_u16(), begun.elapsed().as_micros() as u64);
    let length = answer.length();
    let Answer {
        headers,
        content,
        fault,
        ..
    } = answer;
    let is_head = matches!(content, Content::Length(_));
    let log = LogEntry {
        service,
        request: format!("{client} {} {label}", user.as_deref().unwrap_or("-")),
        status: status.as_u16(),
        begun,
        fault,
    };
    let mut response = Response::new(AnswerBody::new(content, log));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    // An answer without a body has no length by the standard; that to HEAD has the one of GET.
    if is_head && status != StatusCode::NO_CONTENT && status != StatusCode::NOT_MODIFIED {
        response.headers_mut().insert(CONTENT_LENGTH, length.into());
    }
    // The rest of such a body may come yet.
    if status == StatusCode::REQUEST_TIMEOUT {
        response
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response)
}

/// A stream whose writes fail when the other side takes nothing for a time.
struct Guarded<S> {
    stream: S,
    window: Duration,
    /// Runs while a write waits.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<S> Guarded<S> {
    fn new(stream: S, window: Duration) -> Self {
        Self {
            stream,
            window,
            stalled: None,
        }
    }

    /// Passes the result of a write on, unless it waits for too long.
    fn guard<T>(&mut self, written: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let window = self.window;
        let stalled = self
            .stalled
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(window)));
        match stalled.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(cx, buf);
        this.guard(written, cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write_vectored(cx, bufs);
        this.guard(written, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.stream).poll_flush(cx);
        this.guard(flushed, cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let closed = Pin::new(&mut this.stream).poll_shutdown(cx);
        this.guard(closed, cx)
    }
}
