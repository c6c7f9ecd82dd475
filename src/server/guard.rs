//! What every call passes first, in this order: the size of its body, who calls, the syntax of a name, the
//! limit. Unauthenticated callers do not use up the limits of authenticated ones.
//!
//! On a loopback address nobody needs a token, as long as the call was addressed to this machine by a local name (a page
//! elsewhere whose name was made to point here is not), does not come from a page of another site, and did not come through
//! a proxy: behind one, everybody would be a local caller. On any other address a token is required. What `X-Forwarded-For`
//! and the like say is ignored: the caller can write anything there.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, Uri, Version, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::answers::{self, Answer, LARGEST_BODY};
use super::app::App;
use super::audit::Called;
use super::call::{Ambiguous, COOKIE, Call, Caller, Peer, Recorded};
use super::endpoints::{self, Act, Counted, Endpoint};
use super::refusals::NOBODY;
use crate::backup::BackupName;

pub(super) async fn admit(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let id = format!("{:016x}", rand::random::<u64>());
    let (parts, body) = request.into_parts();
    let peer = parts.extensions.get::<Peer>().map_or(IpAddr::from([0, 0, 0, 0]), |peer| peer.0.ip());
    let matched = parts.extensions.get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let endpoint = matched.and_then(|path| endpoints::find_endpoint(&parts.method, &path));
    let mut called = Called {
        who: NOBODY.to_owned(),
        peer,
        request: id.clone(),
        what: format!("{} {}", parts.method, shown_path(&parts.uri)),
        name: None,
    };
    let judged = match endpoint {
        _ if parts.extensions.get::<Ambiguous>().is_some() => {
            Err(Answer::bad_request("the request has both `Content-Length` and `Transfer-Encoding`")
                .hint("Send one of the two."))
        }
        None => {
            called.who = name_caller(&app, &parts).await;
            Err(unknown(&parts))
        }
        Some(endpoint) => judge(&app, &parts, endpoint, &mut called, &id).await,
    };
    let is_browser = endpoint.is_some_and(|it| matches!(it.act, Act::Dashboard | Act::Evidence));
    let is_read = is_read_by_a_person(&parts);
    let asked = parts.uri.path_and_query().map_or("/", |it| it.as_str()).to_owned();
    let mut response = match judged {
        Ok(call) => {
            let mut request = Request::from_parts(parts, body);
            request.extensions_mut().insert(call);
            next.run(request).await
        }
        Err(answer)
            if is_browser
                && called.who == NOBODY
                && [StatusCode::UNAUTHORIZED, StatusCode::TOO_MANY_REQUESTS].contains(&answer.status) =>
        {
            super::page::login_page(None, &asked)
        }
        Err(answer) if is_read => super::page::refusal_page(&answer, &asked),
        Err(answer) => answer
            .named(called.name.as_deref())
            .field("request_id", id.as_str())
            .at((app.setup.clock)())
            .into_response(),
    };
    app.audit.called(&called, response.status(), began, response.extensions().get::<Recorded>().is_some());
    protect(&mut response, &id);
    response
}

async fn judge(
    app: &Arc<App>,
    parts: &Parts,
    endpoint: &'static Endpoint,
    called: &mut Called,
    id: &str,
) -> Result<Call, Answer> {
    let (headers, uri) = (&parts.headers, &parts.uri);
    check_size(headers)?;
    let caller = authenticate(app, parts, endpoint, called.peer).await?;
    called.who.clone_from(&caller.who);
    if let Some(scope) = endpoint.scope.filter(|scope| !caller.may(*scope)) {
        let words = format!("the token `{}` lacks the scope `{}`", caller.who, scope.as_str());
        return Err(Answer::refusal(StatusCode::FORBIDDEN, words)
            .hint("Add a token with that scope: `lifeboat serve token add NAME --scope …`."));
    }
    let name = match endpoint.act {
        Act::Restore | Act::Delete | Act::Verify => Some(name_in(uri)?),
        _ => None,
    };
    called.name = name.as_ref().map(ToString::to_string);
    if let Some((limit, Counted::AtOnce)) = endpoint.limit {
        app.limits
            .admit(&caller.who, endpoint.path, limit, Instant::now())
            .map_err(|wait| answers::too_many(&limit.shown(), wait))?;
    }
    Ok(Call { caller, peer: called.peer, request: id.to_owned(), name, endpoint })
}

/// Whether a browser shows the answer to a person, who wants a page and a way back.
fn is_read_by_a_person(parts: &Parts) -> bool {
    let accepted = parts.headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    let is_page = !["/api/", "/assets/"].iter().any(|folder| parts.uri.path().starts_with(folder));
    is_page && parts.method.is_safe() && accepted.is_some_and(|accept| accept.contains("text/html"))
}

/// The caller of an unknown path, for the audit log.
async fn name_caller(app: &Arc<App>, parts: &Parts) -> String {
    let presented = bearer(&parts.headers).ok().flatten().or_else(|| cookie(&parts.headers));
    let found = match presented {
        Some(token) => app.holder_of(token).await.ok().flatten().map(|token| token.name),
        None => {
            let is_local = app.is_local && !is_proxied(parts) && local(&parts.headers, &parts.uri).is_ok();
            is_local.then(|| Caller::local().who)
        }
    };
    found.unwrap_or_else(|| NOBODY.to_owned())
}

fn unknown(parts: &Parts) -> Answer {
    let path = parts.uri.path();
    let others: Vec<String> = endpoints::ENDPOINTS
        .iter()
        .filter(|endpoint| endpoints::path_matches(endpoint.path, path))
        .map(|endpoint| endpoint.method.to_string())
        .collect();
    if others.is_empty() {
        return Answer::refusal(StatusCode::NOT_FOUND, "not found")
            .hint("`/api/openapi.json` lists the endpoints.");
    }
    let allowed = others.join(", ");
    Answer::refusal(StatusCode::METHOD_NOT_ALLOWED, format!("`{}` is not allowed here", parts.method))
        .hint(format!("Use {allowed}."))
        .header(header::ALLOW, allowed)
}

fn check_size(headers: &HeaderMap) -> Result<(), Answer> {
    let claimed =
        headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if claimed.is_some_and(|bytes| bytes > LARGEST_BODY as u64) { Err(answers::too_large()) } else { Ok(()) }
}

async fn authenticate(
    app: &Arc<App>,
    parts: &Parts,
    endpoint: &Endpoint,
    peer: IpAddr,
) -> Result<Caller, Answer> {
    let (headers, uri) = (&parts.headers, &parts.uri);
    let by_cookie = cookie(headers);
    let presented = match bearer(headers)? {
        Some(token) => Some(token),
        None => by_cookie.clone(),
    };
    let is_open = endpoint.scope.is_none();
    if matches!(endpoint.act, Act::Login | Act::Logout) {
        not_from_elsewhere(headers, uri)?;
    }
    if let Some(token) = presented {
        let is_logged_in = by_cookie.is_some() && headers.get(header::AUTHORIZATION).is_none();
        if is_logged_in && !parts.method.is_safe() {
            same_origin(headers, uri)?;
        }
        return match app.holder_of(token).await.map_err(|error| Answer::of(&error))? {
            Some(token) => Ok(Caller { who: token.name, scopes: token.scopes, is_logged_in }),
            None if is_open => Ok(Caller::nobody()),
            None => Err(unauthorized(app, peer, "unknown token: it was mistyped or revoked")),
        };
    }
    if app.is_local && !is_proxied(parts) {
        local(headers, uri)?;
        return Ok(Caller::local());
    }
    if is_open {
        return Ok(Caller::nobody());
    }
    let words = if app.is_local { "a call through a proxy needs a token" } else { "a token is required" };
    Err(unauthorized(app, peer, words))
}

/// Whether a proxy has passed a call on. Most say so in a header; nginx as it comes says nothing, but speaks HTTP/1.0.
fn is_proxied(parts: &Parts) -> bool {
    const HEADERS: [&str; 6] =
        ["forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip"];
    parts.version < Version::HTTP_11 || HEADERS.iter().any(|name| parts.headers.contains_key(*name))
}

/// Wrong tokens are refused a few times, and then rate limited. A known token is accepted even so:
/// 256 bits are not guessed, and others behind the same address must not be locked out.
fn unauthorized(app: &App, peer: IpAddr, words: &str) -> Answer {
    match app.limits.failed(peer, Instant::now()) {
        Err(wait) => answers::too_many("too many calls without a valid token", wait),
        Ok(()) => Answer::refusal(StatusCode::UNAUTHORIZED, words)
            .hint("Send `Authorization: Bearer TOKEN`; `lifeboat serve token add NAME` creates one.")
            .header(header::WWW_AUTHENTICATE, "Bearer realm=\"lifeboat\""),
    }
}

fn bearer(headers: &HeaderMap) -> Result<Option<String>, Answer> {
    let Some(value) = headers.get(header::AUTHORIZATION) else { return Ok(None) };
    if headers.get_all(header::AUTHORIZATION).iter().count() > 1 {
        return Err(Answer::bad_request("the request has more than one `Authorization` header"));
    }
    let text = value.to_str().unwrap_or_default();
    let (scheme, token) = text.split_once(' ').unwrap_or((text, ""));
    if scheme.eq_ignore_ascii_case("bearer") && !token.trim().is_empty() {
        return Ok(Some(token.trim().to_owned()));
    }
    Err(Answer::refusal(StatusCode::UNAUTHORIZED, "the `Authorization` header holds no bearer token")
        .hint("Send `Authorization: Bearer TOKEN`.")
        .header(header::WWW_AUTHENTICATE, "Bearer realm=\"lifeboat\""))
}

fn cookie(headers: &HeaderMap) -> Option<String> {
    let texts = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = texts.flat_map(|text| text.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(key, value)| *key == COOKIE && !value.is_empty()).map(|(_, value)| value.to_owned())
}

fn forbidden(words: &str) -> Answer {
    Answer::refusal(StatusCode::FORBIDDEN, words)
        .hint("Call it as 127.0.0.1 or localhost, or with a token: `lifeboat serve token add NAME`.")
}

/// Whether a call without a token is addressed to this machine and comes from it.
fn local(headers: &HeaderMap, uri: &Uri) -> Result<(), Answer> {
    let hosts: Vec<&str> =
        headers.get_all(header::HOST).iter().map(|host| host.to_str().unwrap_or("?")).collect();
    let authority = uri.authority().map(axum::http::uri::Authority::as_str);
    if hosts.len() > 1 || (hosts.is_empty() && authority.is_none()) {
        return Err(Answer::bad_request("the request needs exactly one `Host` header"));
    }
    if !hosts.into_iter().chain(authority).all(is_local_host) {
        return Err(forbidden("without a token, only requests to a local host name are accepted"));
    }
    if let Some(origin) = headers.get(header::ORIGIN) {
        let host = origin
            .to_str()
            .ok()
            .and_then(|origin| origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://")));
        if !host.is_some_and(is_local_host) {
            return Err(forbidden("without a token, only pages from this machine are accepted"));
        }
    }
    match headers.get("sec-fetch-site").map(|site| site.to_str().unwrap_or("?")) {
        Some("cross-site") => Err(forbidden("without a token, only pages from this machine are accepted")),
        _ => Ok(()),
    }
}

/// A page of another site must not log a browser in: what its user then does would be done as somebody else. Browsers say where a
/// form comes from; a request without that is not from a browser.
fn not_from_elsewhere(headers: &HeaderMap, uri: &Uri) -> Result<(), Answer> {
    match headers.get("sec-fetch-site").map(|site| site.to_str().unwrap_or("?")) {
        // A proxy in front may have changed `Host`, but not this.
        Some("same-origin" | "none") => Ok(()),
        Some(_) => Err(foreign()),
        None if headers.contains_key(header::ORIGIN) => same_origin(headers, uri),
        None => Ok(()),
    }
}

fn foreign() -> Answer {
    Answer::refusal(StatusCode::FORBIDDEN, "the request comes from a page of another site")
}

/// A browser that has logged in sends its cookie for pages of this site only; its word for where it is must agree.
fn same_origin(headers: &HeaderMap, uri: &Uri) -> Result<(), Answer> {
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok())
        .or(uri.authority().map(|it| it.as_str()));
    let origin = headers.get(header::ORIGIN).and_then(|origin| origin.to_str().ok());
    let of = origin.and_then(|origin| origin.split_once("://")).map(|(_, host)| host);
    if host.is_some() && of == host {
        return Ok(());
    }
    Err(foreign())
}

/// `localhost`, `127.0.0.1` or `[::1]`, with or without a port.
fn is_local_host(host: &str) -> bool {
    let is_port =
        |port: &str| !port.is_empty() && port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit());
    let name = match host.rsplit_once(':') {
        Some((name, port)) if is_port(port) && !name.ends_with(':') => name,
        _ => host,
    };
    let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    match address {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok_and(|address| address.is_loopback()),
        None => {
            name.eq_ignore_ascii_case("localhost")
                || name.parse::<std::net::Ipv4Addr>().is_ok_and(|address| address.is_loopback())
        }
    }
}

/// The name at the end of a path. Its grammar has no separators, no dots in a row and nothing that is not a letter, digit,
/// dot, hyphen or underscore; even so it is only ever looked up.
fn name_in(uri: &Uri) -> Result<BackupName, Answer> {
    let raw = uri.path().rsplit('/').next().unwrap_or_default();
    let wrong = |words: String| Answer::bad_request(words).hint("`GET /api/backup/list` lists the backups.");
    let decoded = percent_encoding::percent_decode_str(raw).decode_utf8();
    let text = decoded.map_err(|_| wrong("the name of the backup is not UTF-8".to_owned()))?;
    if text.len() > 300 {
        return Err(wrong(format!("the name of a backup has at most 128 characters, not {}", text.len())));
    }
    text.parse().map_err(|error: crate::error::Error| wrong(error.to_string()))
}

/// The path for the audit log: without the query, and shortened.
fn shown_path(uri: &Uri) -> String {
    let path = uri.path();
    let end = path.char_indices().nth(200).map_or(path.len(), |(at, _)| at);
    path[..end].to_owned()
}

fn protect(response: &mut Response, id: &str) {
    let headers = response.headers_mut();
    let mut set = |name: &'static str, value: &str| {
        if let Ok(value) = value.parse() {
            headers.entry(name).or_insert(value);
        }
    };
    set("x-request-id", id);
    set("x-content-type-options", "nosniff");
    set("x-frame-options", "DENY");
    set("referrer-policy", "no-referrer");
    set("cache-control", "no-store");
    set("cross-origin-resource-policy", "same-origin");
    set("cross-origin-opener-policy", "same-origin");
    set("content-security-policy", "default-src 'none'; frame-ancestors 'none'; base-uri 'none'");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_local_names_are_local() {
        for host in
            ["localhost", "localhost:5000", "LocalHost", "127.0.0.1:5000", "127.0.0.2", "[::1]", "[::1]:5000"]
        {
            assert!(is_local_host(host), "{host}");
        }
        let strange = [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example:5000",
            "127.0.0.1@evil.example",
            "evil.example:5000",
            "[::2]",
            "0.0.0.0",
            "",
            "localhost:",
            "localhost:x",
            "10.0.0.1",
            "null",
        ];
        for host in strange {
            assert!(!is_local_host(host), "{host}");
        }
    }

    #[test]
    fn of_two_tokens_neither_is_believed() {
        let mut headers = HeaderMap::new();
        headers.append(header::AUTHORIZATION, "Bearer a".parse().unwrap());
        assert_eq!(bearer(&headers).unwrap().as_deref(), Some("a"));
        headers.append(header::AUTHORIZATION, "Bearer b".parse().unwrap());
        assert!(bearer(&headers).is_err());
    }

    #[test]
    fn a_cookie_alone_does_not_act_from_another_site() {
        let mut headers = HeaderMap::new();
        let uri = Uri::from_static("/api/backup/create");
        headers.insert(header::HOST, "backups.example".parse().unwrap());
        assert!(same_origin(&headers, &uri).is_err());
        headers.insert(header::ORIGIN, "https://evil.example".parse().unwrap());
        assert!(same_origin(&headers, &uri).is_err());
        headers.insert(header::ORIGIN, "https://backups.example".parse().unwrap());
        assert!(same_origin(&headers, &uri).is_ok());
    }
}
