//! The way to an object store: the HTTP client that everything else here uses, so that no second one is built in. It also
//! sees what the interface of `object_store` does not show: the time by the clock of the store.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use http_body_util::BodyExt as _;
use hyper::header::{DATE, HeaderMap, HeaderValue, IF_NONE_MATCH};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector as Tcp;
use hyper_util::rt::TokioExecutor;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody, HttpResponse,
    HttpResponseBody, HttpService,
};
use parking_lot::Mutex;

use crate::error::{Error, Result};

/// One request until its answer begins. A part of some megabytes must get through a slow line meanwhile.
const PATIENCE: Duration = Duration::from_secs(180);

/// The clock of the store, as its latest answer showed it.
#[derive(Clone, Debug, Default)]
pub(super) struct Clock(Arc<Mutex<Option<Tick>>>);

/// The time there, and when we heard it.
type Tick = (DateTime<Utc>, Instant);

impl Clock {
    fn note(&self, headers: &HeaderMap) {
        let date = headers.get(DATE).and_then(|date| date.to_str().ok());
        if let Some(date) = date.and_then(|date| DateTime::parse_from_rfc2822(date).ok()) {
            *self.0.lock() = Some((date.to_utc(), Instant::now()));
        }
    }

    /// The time there; `None` before the first answer.
    pub(super) fn now(&self) -> Option<DateTime<Utc>> {
        let seen = *self.0.lock();
        let (date, at) = seen?;
        Some(date + TimeDelta::from_std(at.elapsed()).unwrap_or_default())
    }
}

/// Connects to a store.
#[derive(Clone, Debug)]
pub(super) struct Connector {
    client: Client<HttpsConnector<Tcp>, HttpRequestBody>,
    clock: Clock,
    /// Uploads are completed only where nothing of their name is.
    completes_where_nothing_is: bool,
}

impl Connector {
    pub(super) fn new(clock: Clock, completes_where_nothing_is: bool) -> Result<Self> {
        let mut tcp = Tcp::new();
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(Duration::from_secs(10)));
        tcp.set_nodelay(true);
        let https = HttpsConnectorBuilder::new()
            .with_provider_and_native_roots(rustls::crypto::ring::default_provider())
            .map_err(|error| {
                Error::outside("this machine's certificate authorities cannot be read").caused_by(error)
            })?
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let client =
            Client::builder(TokioExecutor::new()).pool_idle_timeout(Duration::from_secs(15)).build(https);
        Ok(Connector { client, clock, completes_where_nothing_is })
    }
}

impl HttpConnector for Connector {
    fn connect(&self, _options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

#[async_trait]
impl HttpService for Connector {
    async fn call(&self, mut request: HttpRequest) -> std::result::Result<HttpResponse, HttpError> {
        // S3 takes this header there too, but `object_store` has no way to say it.
        if self.completes_where_nothing_is
            && request.method() == hyper::Method::POST
            && request.uri().query().is_some_and(|query| query.contains("uploadId="))
        {
            request.headers_mut().insert(IF_NONE_MATCH, HeaderValue::from_static("*"));
        }
        let answer = tokio::time::timeout(PATIENCE, self.client.request(request))
            .await
            .map_err(|late| HttpError::new(HttpErrorKind::Timeout, late))?
            .map_err(|error| HttpError::new(kind_of(&error), error))?;
        self.clock.note(answer.headers());
        let (head, body) = answer.into_parts();
        let body = body.map_err(|error| HttpError::new(HttpErrorKind::Interrupted, error));
        Ok(HttpResponse::from_parts(head, HttpResponseBody::new(body)))
    }
}

/// Only where no connection came about is it sure that nothing was done.
fn kind_of(error: &hyper_util::client::legacy::Error) -> HttpErrorKind {
    if error.is_connect() { HttpErrorKind::Connect } else { HttpErrorKind::Interrupted }
}
