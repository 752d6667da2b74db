// SPDX-License-Identifier: Apache-2.0
//! Accepts connections, with TLS or without, until the process is told to stop.

use std::net::{IpAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::net::TcpStream;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::connection::{Limits, run};
use super::options::ServeOptions;
use super::service::Service;
use crate::error::{Error, Result, ResultExt};
use crate::registry::server_tls;

/// Time between two looks for what nobody goes on with.
const TIDY: Duration = Duration::from_secs(60);
/// Time to wait after a failure to accept, as where no file can be opened any more.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves until a signal says to stop, and then until the requests have ended.
pub(super) fn serve(listener: TcpListener, service: Arc<Service>, options: &ServeOptions) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        // Each request has a thread as long as its handler works; more wait for one.
        .max_blocking_threads(options.max_connections + 64)
        .thread_name("serve")
        .build()
        .context(|| "begin to serve")?;
    let served = runtime.block_on(accept_all(listener, service, options));
    // A handler that still works is left to the end of the process.
    runtime.shutdown_timeout(Duration::from_secs(1));
    served
}

async fn accept_all(listener: TcpListener, service: Arc<Service>, options: &ServeOptions) -> Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener).context(|| "begin to serve")?;
    let mut terminate = signal(SignalKind::terminate()).map_err(Error::from)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::from)?;
    let mut hang_up = signal(SignalKind::hangup()).map_err(Error::from)?;
    let mut tls = acceptor(options)?;
    let room = Arc::new(Semaphore::new(options.max_connections));
    let (stop, stopped) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut tidy = tokio::time::interval(TIDY);
    let limits = Limits {
        header_timeout: options.header_timeout,
        body_window: options.body_window,
    };
    loop {
        tokio::select! {
            // A connection beyond the limit waits in the queue of the kernel.
            accepted = accept(&listener, &room) => match accepted {
                Ok((stream, client, permit)) => {
                    let (service, tls, stopped) = (Arc::clone(&service), tls.clone(), stopped.clone());
                    connections.spawn(async move {
                        service.metrics.connected();
                        connect(stream, client, tls, Arc::clone(&service), limits, stopped).await;
                        service.metrics.disconnected();
                        drop(permit);
                    });
                }
                Err(err) => {
                    (service.log)(&format!("cannot accept a connection: {err}"));
                    tokio::time::sleep(PAUSE).await;
                }
            },
            _ = connections.join_next(), if !connections.is_empty() => {}
            _ = tidy.tick() => {
                let service = Arc::clone(&service);
                tokio::task::spawn_blocking(move || service.tidy());
            }
            _ = hang_up.recv() => {
                service.reload();
                match acceptor(options) {
                    Ok(new) => tls = new,
                    Err(err) => (service.log)(&format!("the certificate stays as it was: {err}")),
                }
            }
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    drop(listener);
    // Those that wait for a request end at once, the others after their answer.
    let _ = stop.send(true);
    let ended = async { while connections.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(options.stop_timeout, ended).await;
    Ok(())
}

type Accepted = (TcpStream, IpAddr, tokio::sync::OwnedSemaphorePermit);

async fn accept(listener: &tokio::net::TcpListener, room: &Arc<Semaphore>) -> Result<Accepted> {
    let permit = Arc::clone(room).acquire_owned().await;
    let permit = permit.map_err(|err| Error::from(std::io::Error::other(err)))?;
    let (stream, client) = listener.accept().await?;
    // Answers are small or large as a whole: nothing is gained by waiting for more.
    let _ = stream.set_nodelay(true);
    Ok((stream, client.ip(), permit))
}

/// Returns what speaks TLS with the certificate that is in its file now.
fn acceptor(options: &ServeOptions) -> Result<Option<TlsAcceptor>> {
    let Some((certificate, key)) = &options.tls else {
        return Ok(None);
    };
    let config: Arc<ServerConfig> = server_tls(certificate, key)?;
    Ok(Some(config.into()))
}

async fn connect(
    stream: TcpStream,
    client: IpAddr,
    tls: Option<TlsAcceptor>,
    service: Arc<Service>,
    limits: Limits,
    stopped: watch::Receiver<bool>,
) {
    let Some(tls) = tls else {
        return run(stream, client, service, limits, stopped).await;
    };
    // A handshake that fails or hangs is nobody's request.
    if let Ok(Ok(stream)) = tokio::time::timeout(limits.header_timeout, tls.accept(stream)).await {
        run(stream, client, service, limits, stopped).await;
    }
}
