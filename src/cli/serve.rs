//! `lifeboat serve`: its flags, and how requests become what `backup` understands.

use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::backup::AccessArgs;
use super::{Session, actor, now};
use crate::backup::Event;
use crate::error::{Error, Kind, Result};
use crate::interrupt::Interrupt;
use crate::output::{Page, Report};
use crate::server::tokens::{self, Scope, Token};
use crate::server::{CheckInstances, Server, Setup};
use crate::vault::Trigger;
use crate::when::format_time;
use crate::words::Tone;

/// Serve the REST API and the dashboard.
///
/// On 127.0.0.1 no token is needed, unless the call comes through a proxy. On any other address every caller needs one: add it first with `serve token add`.
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct ServeArgs {
    /// Address and port to listen on; port 0 picks a free port
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:5000")]
    listen: String,
    #[command(flatten)]
    access: AccessArgs,
    #[command(subcommand)]
    command: Option<ServeCommand>,
}

#[derive(Debug, Subcommand)]
enum ServeCommand {
    /// Manage the tokens that callers from other machines need.
    #[command(subcommand)]
    Token(TokenCommand),
}

#[derive(Debug, Subcommand)]
enum TokenCommand {
    /// Create a token. It is shown once and stored only as a hash.
    Add(AddArgs),
    /// List the tokens.
    List,
    /// Revoke a token: the next call with it is refused.
    Revoke(RevokeArgs),
}

#[derive(Args, Debug)]
struct AddArgs {
    /// Name of the token, for the audit log
    #[arg(value_name = "NAME")]
    name: String,
    /// What the token allows; may be repeated or comma-separated
    #[arg(long = "scope", value_enum, value_name = "SCOPE", value_delimiter = ',', default_value = "read")]
    scopes: Vec<Scope>,
}

#[derive(Args, Debug)]
struct RevokeArgs {
    /// Name of the token
    #[arg(value_name = "NAME")]
    name: String,
}

pub(super) async fn run(args: ServeArgs, session: &Arc<Session>) -> Result<Option<Kind>> {
    match args.command {
        None => serve(&args.listen, &args.access, session).await,
        Some(ServeCommand::Token(command)) => token(command, session).await,
    }
}

async fn serve(listen: &str, access: &AccessArgs, session: &Arc<Session>) -> Result<Option<Kind>> {
    let server = Server::open(address(listen)?, setup(access, session)?)?;
    if server.interrupted > 0 {
        let jobs = if server.interrupted == 1 { "job was" } else { "jobs were" };
        session
            .output
            .warn(format!("{} {jobs} interrupted when the previous server died", server.interrupted));
    }
    let url = format!("http://{}", server.address()?);
    session.output.report(&Listening { schema: "lifeboat.serve/1", url })?;
    server.run().await?;
    session.output.say("stopped");
    Ok(None)
}

fn address(text: &str) -> Result<SocketAddr> {
    let wrong = || {
        Error::request(format!("`{}` is not an address to listen on", text.escape_default()))
            .hint("Write it as 127.0.0.1:5000, [::1]:5000 or 0.0.0.0:5000.")
    };
    let text = if text.starts_with(':') { format!("127.0.0.1{text}") } else { text.to_owned() };
    let found = text.to_socket_addrs().map_err(|error| wrong().caused_by(error))?;
    // Of a name with several addresses, one that every client has.
    let mut found: Vec<SocketAddr> = found.collect();
    found.sort_by_key(SocketAddr::is_ipv6);
    found.first().copied().ok_or_else(wrong)
}

fn setup(access: &AccessArgs, session: &Arc<Session>) -> Result<Setup> {
    let (of_instances, told) = (Arc::clone(session), Arc::clone(session));
    let check: CheckInstances = Arc::new(move || {
        let session = Arc::clone(&of_instances);
        Box::pin(async move { super::status::of_fleet(&session).await })
    });
    Ok(Setup {
        vault: session.vault()?,
        config: session.config.clone(),
        access: access.options(),
        instances: is_region_settled(session).then_some(check),
        interrupt: Interrupt::listen()?,
        clock: now,
        host: super::host_name(),
        tell: Box::new(move |event| match event {
            Event::Phase(_) | Event::Bytes(_) => {}
            Event::Note(text) => told.output.say(text),
            Event::Warning(text) => told.output.warn(text),
        }),
    })
}

/// Whether somebody has said in which Region the DB instances are.
fn is_region_settled(session: &Session) -> bool {
    !session.config.accounts.is_empty()
        || session.access.region.is_some()
        || !super::is_unset("AWS_REGION")
        || !super::is_unset("AWS_DEFAULT_REGION")
}

/// What is said when it answers.
#[derive(Serialize)]
struct Listening {
    schema: &'static str,
    url: String,
}

impl Report for Listening {
    fn render(&self, page: &mut Page) {
        page.line(format!("listening on {}", page.toned(Tone::Strong, &self.url)));
    }
}

async fn token(command: TokenCommand, session: &Session) -> Result<Option<Kind>> {
    let vault = session.vault()?;
    let warn = |text: &str| session.output.warn(text);
    match command {
        TokenCommand::Add(args) => {
            let act = actor(Trigger::Cli).act("token add", &args.name);
            let add = async { tokens::add(&vault, &args.name, &args.scopes, now()) };
            let token = vault.record_act(act, now, &warn, |_| None, add).await?;
            session.output.report(&Added {
                schema: "lifeboat.token/1",
                name: args.name,
                scopes: args.scopes,
                token,
            })?;
            session.output.say("The token is shown only once. Hand it to whoever will use it.");
        }
        TokenCommand::List => {
            session.output.report(&Tokens { schema: "lifeboat.tokens/1", tokens: tokens::list(&vault)? })?;
        }
        TokenCommand::Revoke(args) => {
            let act = actor(Trigger::Cli).act("token revoke", &args.name);
            let revoke = async { tokens::revoke(&vault, &args.name) };
            let revoked = vault.record_act(act, now, &warn, |_| None, revoke).await?;
            session.output.report(&Tokens { schema: "lifeboat.tokens/1", tokens: tokens::list(&vault)? })?;
            session
                .output
                .say(format!("`{}` is revoked: calls with it are refused from now on", revoked.name));
        }
    }
    Ok(None)
}

#[derive(Serialize)]
struct Added {
    schema: &'static str,
    name: String,
    scopes: Vec<Scope>,
    token: String,
}

impl Report for Added {
    fn render(&self, page: &mut Page) {
        page.verbatim(&self.token);
    }
}

#[derive(Serialize)]
struct Tokens {
    schema: &'static str,
    tokens: Vec<Token>,
}

impl Report for Tokens {
    fn render(&self, page: &mut Page) {
        if self.tokens.is_empty() {
            page.line("no tokens");
        }
        let words = |token: &Token| {
            let words: Vec<&str> = token.scopes.iter().map(|scope| scope.as_str()).collect();
            words.join(", ")
        };
        let rows = self.tokens.iter().map(|token| {
            let made = format_time(token.created_at);
            vec![(token.name.clone(), None), (words(token), None), (made, Some(Tone::Faint))]
        });
        page.table(&["token", "scopes", "made"], rows.collect());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_that_the_api_says_the_server_has_are_flags_of_the_server() {
        let command = ServeArgs::augment_args(clap::Command::new("serve"));
        let global = ["--vault"];
        for flag in crate::server::words::OF_THE_SERVER {
            let is_its = command.get_arguments().any(|it| it.get_long() == flag.strip_prefix("--"));
            assert!(is_its || global.contains(&flag), "{flag}");
        }
    }
}
