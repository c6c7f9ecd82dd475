//! Mail over SMTP, by lettre. Certificates are verified against the operating system's authorities; a password goes over an
//! encrypted connection only.

use std::time::Duration;

use lettre::message::header::ContentType;
use lettre::message::{Mailbox, Message as Letter};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Tokio1Executor};

use super::message::Message;
use super::settings::{Encryption, Mail};

/// How long a server may take to answer a command.
const PATIENCE: Duration = Duration::from_secs(5);

/// Sends each message as a separate mail. `password` was read from where the configuration names.
pub(super) async fn send_mail(
    mail: &Mail,
    password: Option<String>,
    messages: &[&Message],
) -> Result<(), String> {
    let server = format!("`{}:{}`", mail.host, mail.port);
    let transport = transport(mail, password).map_err(|error| format!("{server} cannot be used: {error}"))?;
    for message in messages {
        let letter = build_mail(mail, message)?;
        if let Err(error) = transport.send(letter).await {
            return Err(format!("{server} did not accept the mail: {}", describe_error(&error)));
        }
    }
    Ok(())
}

fn transport(
    mail: &Mail,
    password: Option<String>,
) -> Result<AsyncSmtpTransport<Tokio1Executor>, lettre::transport::smtp::Error> {
    let parameters = || TlsParameters::new(mail.host.clone());
    let tls = match mail.encryption {
        Encryption::StartTls => Tls::Required(parameters()?),
        Encryption::Implicit => Tls::Wrapper(parameters()?),
        Encryption::None => Tls::None,
    };
    let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&mail.host)
        .port(mail.port)
        .tls(tls)
        .timeout(Some(PATIENCE));
    if let (Some(user), Some(password)) = (&mail.user, password) {
        builder = builder.credentials(Credentials::new(user.clone(), password));
    }
    Ok(builder.build())
}

fn build_mail(mail: &Mail, message: &Message) -> Result<Letter, String> {
    let address = |text: &str| {
        text.parse::<Mailbox>()
            .map_err(|error| format!("`{}` is not an address: {error}", text.escape_default()))
    };
    let mut builder = Letter::builder()
        .from(address(&mail.from)?)
        .subject(message.subject())
        .message_id(None)
        .header(ContentType::TEXT_PLAIN);
    for to in &mail.to {
        builder = builder.to(address(to)?);
    }
    builder.body(message.text()).map_err(|error| format!("the mail cannot be written: {error}"))
}

/// The error of the server or the connection, without type names.
fn describe_error(error: &lettre::transport::smtp::Error) -> String {
    let mut reason = error.to_string();
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        let text = cause.to_string();
        if !reason.contains(&text) {
            reason = format!("{reason}: {text}");
        }
        next = cause.source();
    }
    reason
}
