// SPDX-License-Identifier: Apache-2.0
//! The work on one request: who asks, what for, and the answer.

use std::sync::Arc;

use hyper::header::{ALLOW, HeaderName, WWW_AUTHENTICATE};
use hyper::{Method, StatusCode};

use super::answer::{Answer, Code, Outcome, Refusal, own};
use super::auth::Users;
use super::metrics::Metrics;
use super::options::{LogLine, ServeOptions};
use super::repositories::{Repositories, Repository};
use super::request::Request;
use super::route::{Query, Route, Target};
use super::upload::Uploads;
use super::upstream::Upstream;
use super::{pull, push};
use crate::digest::Digest;
use crate::error::{ErrorKind, Result};

const API_VERSION: HeaderName = own("docker-distribution-api-version");
/// Text of the header that old clients tell a registry by.
const API_VERSION_2: &str = "registry/2.0";

/// All that requests share.
pub(super) struct Service {
    repositories: Repositories,
    uploads: Uploads,
    upstream: Option<Upstream>,
    users: Option<Users>,
    may_write: bool,
    may_delete: bool,
    pub metrics: Metrics,
    pub log: LogLine,
}

/// The answer to a request, and the user who asked.
pub(super) struct Answered {
    pub answer: Answer,
    pub user: Option<String>,
}

impl Service {
    /// Opens the layouts and reads the users.
    ///
    /// # Errors
    /// Those of the layouts, of the origin's name and of the file of users.
    pub fn new(options: &ServeOptions) -> Result<Self> {
        let upstream = options.upstream.as_ref();
        if upstream.is_some() && (options.write || options.delete) {
            fail!(Invalid, "a cache takes neither pushes nor removals");
        }
        let upstream =
            upstream.map(|upstream| Upstream::new(upstream, options.max_connections, &options.log));
        Ok(Self {
            upstream: upstream.transpose()?,
            repositories: Repositories::new(options)?,
            uploads: Uploads::new(options.max_uploads, options.max_blob, options.upload_age),
            users: options.htpasswd.as_deref().map(Users::read).transpose()?,
            may_write: options.write,
            may_delete: options.delete,
            metrics: Metrics::default(),
            log: Arc::clone(&options.log),
        })
    }

    /// Reads the file of users again.
    pub fn reload(&self) {
        if let Some(Err(err)) = self.users.as_ref().map(Users::reload) {
            (self.log)(&format!("the users stay as they were: {err}"));
        }
    }

    /// Does what comes round from time to time.
    pub fn tidy(&self) {
        self.uploads.drop_old();
    }

    /// Answers a request.
    pub fn answer(&self, mut request: Request) -> Answered {
        let mut user = None;
        let outcome = self.work(&mut request, &mut user);
        if outcome.is_err() {
            request.drain();
        }
        let mut answer = outcome.unwrap_or_else(|refusal| refusal.into_answer());
        if request.method == Method::HEAD {
            answer = answer.without_body();
        }
        let answer = answer.header(API_VERSION, API_VERSION_2);
        Answered { answer, user }
    }

    fn work(&self, request: &mut Request, user: &mut Option<String>) -> Outcome {
        // A look whether the server is up is for machines without a password.
        if request.path == "/healthz" {
            return read(request, Answer::new(StatusCode::OK));
        }
        if let Some(users) = &self.users {
            *user = users.user(request.header(&hyper::header::AUTHORIZATION));
            if user.is_none() {
                self.metrics.refused_login();
                let refusal = Refusal::new(Code::Unauthorized, "log in first");
                return Err(refusal.header(WWW_AUTHENTICATE, "Basic realm=\"umoci\", charset=\"UTF-8\""));
            }
        }
        let route = Route::parse(&request.path)?;
        let query = Query::parse(&request.query);
        match &route {
            Route::Health | Route::Ping => {
                let empty = Answer::json(StatusCode::OK, &serde_json::json!({}));
                read(request, empty)
            }
            Route::Metrics => read(
                request,
                Answer::new(StatusCode::OK)
                    .header(hyper::header::CONTENT_TYPE, "text/plain; version=0.0.4")
                    .bytes(self.metrics.text(self.uploads.count())),
            ),
            Route::Catalog => {
                only(request, &[Method::GET, Method::HEAD])?;
                pull::catalog(&self.repositories, &query)
            }
            Route::Tags(name) => {
                only(request, &[Method::GET, Method::HEAD])?;
                match &self.upstream {
                    Some(upstream) => upstream.tags(&self.repositories, name, &query),
                    None => pull::tags(&*self.known(name)?, &query),
                }
            }
            Route::Referrers(name, digest) => {
                only(request, &[Method::GET, Method::HEAD])?;
                match &self.upstream {
                    Some(upstream) => upstream.referrers(&self.repositories, name, digest, &query),
                    None => pull::referrers(self.repositories.find(name)?.as_deref(), name, digest, &query),
                }
            }
            Route::Blob(name, digest) => match request.method {
                Method::GET | Method::HEAD => self.blob(name, digest, request),
                Method::DELETE => push::remove_blob(&*self.to_delete(name)?, digest),
                _ => Err(not_allowed("GET, HEAD, DELETE")),
            },
            Route::Manifest(name, target) => match request.method {
                Method::GET | Method::HEAD => self.manifest(name, target, request),
                Method::PUT => push::manifest(&*self.to_write(name)?, target, request, &query),
                Method::DELETE => push::remove_manifest(&*self.to_delete(name)?, target),
                _ => Err(not_allowed("GET, HEAD, PUT, DELETE")),
            },
            Route::Uploads(name) => {
                only(request, &[Method::POST])?;
                let repository = self.to_write(name)?;
                self.uploads
                    .begin(&self.repositories, &repository, request, &query)
            }
            Route::Upload(name, id) => {
                let methods = [Method::GET, Method::PATCH, Method::PUT, Method::DELETE];
                only(request, &methods)?;
                self.upload(name, id, request, &query)
            }
        }
    }

    fn blob(&self, name: &str, digest: &Digest, request: &Request) -> Outcome {
        if let Some(upstream) = &self.upstream {
            return upstream.blob(&self.repositories, name, digest, request);
        }
        let repository = self.known_or(name, Code::BlobUnknown)?;
        pull::blob(&repository, digest, &request.headers)
    }

    fn manifest(&self, name: &str, target: &Target, request: &Request) -> Outcome {
        if let Some(upstream) = &self.upstream {
            return upstream.manifest(&self.repositories, name, target, request);
        }
        let repository = self.known_or(name, Code::ManifestUnknown)?;
        pull::manifest(&repository, target, &request.headers)
    }

    fn upload(&self, name: &str, id: &str, request: &mut Request, query: &Query) -> Outcome {
        self.check_write()?;
        let repository = self.known(name)?;
        match request.method {
            Method::PATCH => self.uploads.patch(&repository, id, request),
            Method::PUT => self.uploads.put(&repository, id, request, query),
            Method::DELETE => self.uploads.cancel(&repository, id),
            _ => self.uploads.status(&repository, id),
        }
    }

    fn known(&self, name: &str) -> Outcome<Arc<Repository>> {
        self.known_or(name, Code::NameUnknown)
    }

    /// Returns a repository; where there is none, neither is what was asked for in it.
    fn known_or(&self, name: &str, code: Code) -> Outcome<Arc<Repository>> {
        match self.repositories.find(name) {
            Ok(Some(found)) => Ok(found),
            Ok(None) => Err(Refusal::new(code, format!("there is no repository {name}"))),
            Err(err) => Err(err.into()),
        }
    }

    fn check_write(&self) -> Outcome<()> {
        if self.may_write {
            return Ok(());
        }
        let refusal = Refusal::new(Code::Unsupported, "this server takes no pushes");
        Err(refusal.header(ALLOW, "GET, HEAD"))
    }

    fn to_write(&self, name: &str) -> Outcome<Arc<Repository>> {
        self.check_write()?;
        match self.repositories.find_or_create(name) {
            Ok(Some(found)) => Ok(found),
            Ok(None) => Err(Refusal::new(
                Code::NameUnknown,
                format!("there is no repository {name}"),
            )),
            // A name below a repository may be one that the file system has no room for.
            Err(err) if matches!(err.kind(), ErrorKind::Exists | ErrorKind::Invalid) => Err(Refusal::new(
                Code::NameInvalid,
                format!("the repository {name} cannot be made"),
            )),
            Err(err) => Err(err.into()),
        }
    }

    fn to_delete(&self, name: &str) -> Outcome<Arc<Repository>> {
        if !self.may_delete {
            let refusal = Refusal::new(Code::Unsupported, "this server takes no removals");
            return Err(refusal.header(ALLOW, "GET, HEAD"));
        }
        self.known(name)
    }
}

/// Returns an answer that only reads have.
fn read(request: &Request, answer: Answer) -> Outcome {
    only(request, &[Method::GET, Method::HEAD]).map(|()| answer)
}

/// Refuses a method that is none of these.
fn only(request: &Request, methods: &[Method]) -> Outcome<()> {
    if methods.contains(&request.method) {
        return Ok(());
    }
    let names: Vec<&str> = methods.iter().map(Method::as_str).collect();
    Err(not_allowed(&names.join(", ")))
}

fn not_allowed(methods: &str) -> Box<Refusal> {
    Refusal::new(Code::Unsupported, "the method is not one of this path").header(ALLOW, methods)
}
