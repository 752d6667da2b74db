// SPDX-License-Identifier: Apache-2.0
//! Blobs from a registry: a body that breaks off goes on where it stopped.
//!
//! A closed range is asked for: many registries serve it and do not say so, and some take no open one. An answer that is no
//! part begins at the start, and the bytes that are there already are skipped.

use std::io::{self, Read};
use std::sync::Arc;
use std::time::Instant;

use ureq::http::Method;

use super::errors::refused;
use super::http::{Call, MIN_RATE};
use super::repository::{Endpoint, Repository};
use crate::error::{Error, ErrorKind, Result};
use crate::spec::Descriptor;

/// Times that a body may break off without any progress.
const MAX_STALLS: u32 = 4;

/// The bytes of a blob as they come from a registry. Its reader is to verify them.
pub(super) struct Download {
    repository: Arc<Repository>,
    blob: Descriptor,
    body: Option<Box<dyn Read + Send>>,
    /// Bytes that were handed out.
    passed: u64,
    stalls: u32,
    /// Beginning of the window, and the bytes handed out by then.
    window: (Instant, u64),
}

impl Download {
    /// Asks for a blob; `None` if it is not there.
    ///
    /// # Errors
    /// Those of the registry.
    pub fn begin(repository: &Arc<Repository>, blob: &Descriptor, from: u64) -> Result<Option<Self>> {
        let mut out = Self {
            repository: Arc::clone(repository),
            blob: blob.bare(),
            body: None,
            passed: from,
            stalls: 0,
            window: (Instant::now(), from),
        };
        out.body = out.open()?;
        Ok(out.body.is_some().then_some(out))
    }

    fn url(&self, place: &Endpoint) -> Result<String> {
        place.url(&format!("blobs/{}", self.blob.digest))
    }

    /// Opens the body from where it broke off.
    fn open(&self) -> Result<Option<Box<dyn Read + Send>>> {
        self.repository.read(true, |place| {
            let mut call = Call::new(Method::GET, self.url(place)?);
            if self.passed > 0 {
                let last = self.blob.size.saturating_sub(1);
                call = call.header("range", format!("bytes={}-{last}", self.passed));
            }
            let mut answer = place.send(&call, "pull")?;
            // Some take no range of this form: all of it comes then, as from those that know none.
            if answer.status() == 416 {
                answer = place.send(&Call::new(Method::GET, self.url(place)?), "pull")?;
            }
            match answer.status().as_u16() {
                200 => {
                    let mut body = answer.into_body().into_reader();
                    let skipped = io::copy(&mut (&mut body).take(self.passed), &mut io::sink())?;
                    if skipped < self.passed {
                        fail!(Io, "the connection was closed");
                    }
                    Ok(Some(Box::new(body) as Box<dyn Read + Send>))
                }
                206 => {
                    let range = answer
                        .headers()
                        .get("content-range")
                        .and_then(|range| range.to_str().ok());
                    let start =
                        range.and_then(|range| range.strip_prefix("bytes ")?.split('-').next()?.parse().ok());
                    if start != Some(self.passed) {
                        fail!(Corrupt, "another part came than was asked for: {range:?}");
                    }
                    Ok(Some(
                        Box::new(answer.into_body().into_reader()) as Box<dyn Read + Send>
                    ))
                }
                404 => Ok(None),
                _ => Err(refused(answer)),
            }
        })
    }

    /// Takes up a body that broke off, unless that happened too often without a byte in between.
    fn resume(&mut self, cause: Error) -> Result<()> {
        self.stalls += 1;
        if self.stalls > MAX_STALLS {
            return Err(cause);
        }
        let pause = self.repository.own()?.host.options().timeouts.pause;
        std::thread::sleep(pause * self.stalls);
        self.body = match self.open() {
            Ok(Some(body)) => Some(body),
            // A place that is gone for now may be back at the next try.
            Err(err) if err.kind() == ErrorKind::Io => None,
            Ok(None) => return Err(cause),
            Err(err) => return Err(err),
        };
        Ok(())
    }

    /// Refuses a body that comes so slowly that it would never end.
    fn check_rate(&mut self) -> Result<()> {
        let window = self.repository.own()?.host.options().timeouts.window;
        let passed = self.window.0.elapsed();
        if passed < window {
            return Ok(());
        }
        let bytes = self.passed - self.window.1;
        if bytes < MIN_RATE * passed.as_secs().max(1) {
            fail!(Denied, "only {bytes} bytes came in {} s", passed.as_secs());
        }
        self.window = (Instant::now(), self.passed);
        Ok(())
    }
}

impl Read for Download {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let left = self.blob.size.saturating_sub(self.passed);
        if buf.is_empty() {
            return Ok(0);
        }
        loop {
            let cause = match &mut self.body {
                None => Error::new(ErrorKind::Io, "the connection was closed"),
                Some(body) => match body.read(buf) {
                    // The reader that verifies tells whether this is the right end.
                    Ok(0) if left == 0 => return Ok(0),
                    Ok(0) => Error::new(ErrorKind::Io, "the connection was closed"),
                    Ok(n) => {
                        self.passed += n as u64;
                        self.stalls = 0;
                        self.check_rate()?;
                        return Ok(n);
                    }
                    Err(err) => ureq::Error::from(err).into(),
                },
            };
            if left == 0 {
                return Ok(0);
            }
            self.body = None;
            self.resume(cause)?;
        }
    }
}
