//! The only code that calls a URL which is not AWS's: where messages come out, and who is to be told that all is well.

use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::{Method, Request};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

use crate::error::{Error, Result};

const PATIENCE: Duration = Duration::from_secs(10);

/// More than anyone looks through.
const LONGEST: usize = 16 << 20;

/// What a URL shows.
pub(crate) async fn get(url: &str) -> Result<String> {
    call(url, Method::GET, String::new()).await
}

/// The status that a URL answers with.
pub(crate) async fn status(url: &str) -> Result<u16> {
    Ok(ask(url, Method::GET, String::new()).await?.0)
}

/// Something to deliver.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call<'a> {
    /// To which URL.
    pub url: &'a str,
    /// With these headers.
    pub headers: &'a [(&'a str, String)],
    /// The body.
    pub body: &'a str,
    /// For how long an answer is waited for.
    pub patience: Duration,
}

/// Posts it, and returns the status of the answer; a redirect is an answer like others. What else the answer says is
/// not looked at.
pub(crate) async fn deliver(call: Call<'_>) -> Result<u16> {
    refuse_bad_url(call.url)
        .map_err(|_| Error::request("the URL is not one").hint("It begins with http:// or https://."))?;
    let request = request(call.url, Method::POST, call.headers, call.body.to_owned())?;
    let failed = |why: String| failed(call.url, &why);
    let client = client().map_err(failed)?;
    let answer = tokio::time::timeout(call.patience, client.request(request))
        .await
        .map_err(|_| failed(format!("no answer within {} seconds", call.patience.as_secs())))?;
    Ok(answer.map_err(|error| failed(innermost(&error)))?.status().as_u16())
}

/// Refuses what is no web address, before anything is done.
pub(crate) fn refuse_bad_url(url: &str) -> Result<()> {
    let host = url.strip_prefix("http://").or(url.strip_prefix("https://")).unwrap_or_default();
    if host.is_empty()
        || host.starts_with(['/', ':'])
        || url.contains(|c: char| c.is_whitespace() || c.is_control())
    {
        return Err(Error::request(format!("`{}` is not a URL", url.escape_default()))
            .hint("It begins with http:// or https://."));
    }
    Ok(())
}

/// The address without what may be secret in it: path and query often are.
pub(crate) fn origin(url: &str) -> &str {
    let start = url.find("://").map_or(0, |at| at + 3);
    let end = url[start..].find(['/', '?', '#']).map_or(url.len(), |at| start + at);
    let host = url[start..end].rsplit('@').next().unwrap_or_default();
    &url[end - host.len()..end]
}

async fn call(url: &str, method: Method, body: String) -> Result<String> {
    match ask(url, method, body).await? {
        (200..=299, text) => Ok(text),
        (status, _) => Err(failed(url, &format!("it answered {status}"))),
    }
}

fn failed(url: &str, why: &str) -> Error {
    Error::outside(format!("`{}` could not be asked: {why}", origin(url)))
        .hint("Check the URL and the network.")
}

type Connector = hyper_rustls::HttpsConnector<hyper_util::client::legacy::connect::HttpConnector>;

fn client() -> std::result::Result<Client<Connector, Full<Bytes>>, String> {
    let connector = HttpsConnectorBuilder::new()
        .with_provider_and_native_roots(rustls::crypto::ring::default_provider())
        .map_err(|error| error.to_string())?
        .https_or_http()
        .enable_http1()
        .build();
    Ok(Client::builder(TokioExecutor::new()).build(connector))
}

fn request(
    url: &str,
    method: Method,
    headers: &[(&str, String)],
    body: String,
) -> Result<Request<Full<Bytes>>> {
    let mut request = Request::builder()
        .method(method)
        .uri(url)
        .header("user-agent", concat!("lifeboat/", env!("CARGO_PKG_VERSION")));
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    request.body(Full::new(Bytes::from(body))).map_err(|error| failed(url, &error.to_string()))
}

async fn ask(url: &str, method: Method, body: String) -> Result<(u16, String)> {
    refuse_bad_url(url)?;
    let answer = send(request(url, method, &[], body)?).await?;
    Ok((answer.status, answer.text))
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    /// HTTP status.
    pub status: u16,
    /// The body.
    pub text: String,
}

/// Makes a request that somebody else has put together, and signed if need be.
pub(crate) async fn send(request: Request<Full<Bytes>>) -> Result<Answer> {
    let url = request.uri().to_string();
    let failed = |why: String| failed(&url, &why);
    let client = client().map_err(failed)?;
    let exchange = async {
        let answer = client.request(request).await.map_err(|error| failed(innermost(&error)))?;
        let status = answer.status().as_u16();
        let body = Limited::new(answer.into_body(), LONGEST).collect().await;
        Ok::<_, Error>((status, body.map_err(|error| failed(error.to_string()))?.to_bytes()))
    };
    let (status, bytes) = tokio::time::timeout(PATIENCE, exchange)
        .await
        .map_err(|_| failed(format!("no answer within {} seconds", PATIENCE.as_secs())))??;
    Ok(Answer { status, text: String::from_utf8_lossy(&bytes).into_owned() })
}

/// The outer layers only say that something failed.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(next) = innermost.source() {
        innermost = next;
    }
    innermost.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_shows_the_host_and_no_secret() {
        assert_eq!(origin("https://hc-ping.com/7f3a-secret?x=1"), "hc-ping.com");
        assert_eq!(origin("http://user:secret@127.0.0.1:80"), "127.0.0.1:80");
        assert!(
            refuse_bad_url("ftp://x").is_err()
                && refuse_bad_url("http:///x").is_err()
                && refuse_bad_url("https://x/y").is_ok()
        );
    }
}
