// SPDX-License-Identifier: Apache-2.0
//! Counters for people who operate a server, in the text form of Prometheus.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

/// The counters of a server.
#[derive(Debug, Default)]
pub(super) struct Metrics {
    /// Answers by the first digit of their status.
    answers: [AtomicU64; 6],
    sent: AtomicU64,
    received: AtomicU64,
    connections: AtomicU64,
    open: AtomicU64,
    refused_logins: AtomicU64,
    /// Time that requests took until their answers began, in microseconds.
    busy: AtomicU64,
}

impl Metrics {
    /// Counts an answer, and the time that the work on it took.
    pub fn answer(&self, status: u16, micros: u64) {
        let class = usize::from(status / 100).min(5);
        self.answers[class].fetch_add(1, Ordering::Relaxed);
        self.busy.fetch_add(micros, Ordering::Relaxed);
    }

    /// Counts bytes of the body of an answer.
    pub fn sent(&self, bytes: u64) {
        self.sent.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts bytes of the body of a request.
    pub fn received(&self, bytes: u64) {
        self.received.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts a connection that begins.
    pub fn connected(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
        self.open.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a connection that ends.
    pub fn disconnected(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }

    /// Counts a request without the right credentials.
    pub fn refused_login(&self) {
        self.refused_logins.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns all counters as text.
    pub fn text(&self, uploads: usize) -> String {
        let mut out = String::new();
        let _ = writeln!(out, "# TYPE umoci_requests_total counter");
        for (class, count) in self.answers.iter().enumerate().skip(1) {
            let _ = writeln!(
                out,
                "umoci_requests_total{{status=\"{class}xx\"}} {}",
                read(count)
            );
        }
        let busy = read(&self.busy);
        let seconds = format!("{}.{:06}", busy / 1_000_000, busy % 1_000_000);
        let _ = writeln!(
            out,
            "# TYPE umoci_request_seconds_total counter\numoci_request_seconds_total {seconds}"
        );
        for (name, kind, value) in [
            ("umoci_sent_bytes_total", "counter", read(&self.sent)),
            ("umoci_received_bytes_total", "counter", read(&self.received)),
            ("umoci_connections_total", "counter", read(&self.connections)),
            ("umoci_connections", "gauge", read(&self.open)),
            (
                "umoci_refused_logins_total",
                "counter",
                read(&self.refused_logins),
            ),
            ("umoci_uploads", "gauge", uploads as u64),
        ] {
            let _ = writeln!(out, "# TYPE {name} {kind}\n{name} {value}");
        }
        out
    }
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}
