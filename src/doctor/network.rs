//! The network path to AWS's endpoints: DNS, TCP and TLS, each reported by itself.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::{TcpStream, lookup_host};

use super::{Check, Outcome, Task};
use crate::aws::{Aws, Service};
use crate::rds::Place;

const PATIENCE: Duration = Duration::from_secs(5);

/// The endpoints of a place, each once.
pub(crate) async fn check_network(aws: &Aws, wanted: &[Task]) -> Vec<Check> {
    let mut services = vec![(Service::Rds, &Task::OF_AWS[..]), (Service::Sts, &Task::OF_AWS[..])];
    if wanted.contains(&Task::Alarms) || wanted.contains(&Task::Status) {
        services.push((Service::CloudWatch, &[Task::Alarms, Task::Status]));
        services.push((Service::Sns, &[Task::Alarms]));
    }
    let mut urls: Vec<(String, Vec<&str>, Vec<Task>)> = Vec::new();
    for (service, tasks) in services {
        let url = aws.endpoint_of(service);
        match urls.iter_mut().find(|(known, ..)| *known == url) {
            Some((_, names, of)) => {
                names.push(service.prefix());
                of.extend(tasks.iter().filter(|task| !of.contains(task)).copied().collect::<Vec<_>>());
            }
            None => urls.push((url, vec![service.prefix()], tasks.to_vec())),
        }
    }
    let place = aws.location();
    let looks = urls.into_iter().map(|(url, names, tasks)| {
        let place = place.clone();
        async move { endpoint(&url, &names.join(", "), &place).await.for_tasks(&tasks) }
    });
    futures::future::join_all(looks).await
}

/// Checks an endpoint, as far as it can be reached.
async fn endpoint(url: &str, names: &str, place: &Place) -> Check {
    let (is_tls, rest) = match url.split_once("://") {
        Some(("https", rest)) => (true, rest),
        Some((_, rest)) => (false, rest),
        None => (false, url),
    };
    let authority = rest.split('/').next().unwrap_or(rest);
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
            (host, port.parse().unwrap_or(443))
        }
        _ => (authority, if is_tls { 443 } else { 80 }),
    };
    let began = Instant::now();
    let check =
        |code: &str, verdict, message: String| Check::new("network", code, verdict, message).at(place);
    let addresses = match resolve(host, port).await {
        Ok(addresses) => addresses,
        Err(why) => {
            return check("dns", Outcome::Fail, format!("{names}: `{host}` cannot be resolved: {why}"))
                .mended_by("Check DNS (/etc/resolv.conf), `--region` and `--endpoint-url`; in a VPC, add an interface endpoint or a NAT gateway.");
        }
    };
    let stream = match connect(&addresses).await {
        Ok(stream) => stream,
        Err(why) => {
            return check("tcp", Outcome::Fail, format!("{names}: {host}:{port} cannot be reached: {why}")).mended_by(
                "Check the route, security group and proxy of this machine; in a VPC without internet access, add an interface endpoint.",
            );
        }
    };
    if is_tls && let Err(why) = handshake(host, stream).await {
        return check("tls", Outcome::Fail, format!("{names}: the TLS handshake with {host}:{port} failed: {why}"))
            .mended_by("A proxy may intercept TLS: add its certificate authority to the system's trust store, or set SSL_CERT_FILE.");
    }
    let how = if is_tls { "name, connection and TLS" } else { "name and connection (no TLS)" };
    let took = began.elapsed().as_millis();
    check("endpoint", Outcome::Pass, format!("{names}: {host}:{port}: {how} in {took} ms"))
}

async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    match tokio::time::timeout(PATIENCE, lookup_host((host, port))).await {
        Err(_) => Err("the DNS server does not answer".to_owned()),
        Ok(Err(error)) => Err(error.to_string()),
        Ok(Ok(found)) => {
            let found: Vec<SocketAddr> = found.collect();
            if found.is_empty() { Err("it has no address".to_owned()) } else { Ok(found) }
        }
    }
}

async fn connect(addresses: &[SocketAddr]) -> Result<TcpStream, String> {
    let mut why = "it has no address".to_owned();
    for address in addresses {
        match tokio::time::timeout(PATIENCE, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => why = error.to_string(),
            Err(_) => why = format!("no answer within {} s", PATIENCE.as_secs()),
        }
    }
    Err(why)
}

async fn handshake(host: &str, stream: TcpStream) -> Result<(), String> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err(
            "this system has no certificate authorities: install the package `ca-certificates`".to_owned()
        );
    }
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    match tokio::time::timeout(PATIENCE, connector.connect(name, stream)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
    }
}
