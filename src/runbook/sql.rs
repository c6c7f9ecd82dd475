//! Where SQL steps go, and psql for those that change something: as a person would use it, with the values as its variables (`:'name'`).

use std::path::PathBuf;

use super::document::Place;
use super::shell::is_name;
use super::values::Values;
use crate::aws::Aws;
use crate::error::{Error, Result};
use crate::fleet::InstanceId;
use crate::postgres::{Password, Psql, Server, Target, Tls, TlsMode, from_pgpass, is_url};

/// psql, ready to send `sql` to where a step says.
pub(super) async fn command(sql: &str, place: &Place, values: &Values, aws: Option<&Aws>) -> Result<Psql> {
    let database = place.db.as_ref().map(|db| values.fill(db).map_err(Error::request)).transpose()?;
    let text = script(sql, values);
    let Some(on) = &place.on else { return Psql::of_environment(database.as_deref(), &text) };
    let name = on.trim_matches(['{', '}', '$', ' ']);
    let on = values.text(name).ok_or_else(|| Error::request(format!("`{name}` has no value yet")))?;
    if is_url(on) {
        let target = Target::parse(on, user_of_environment().as_deref())?;
        return Psql::of(&target.server, database.or(target.database).as_deref(), &text);
    }
    Psql::of(&instance_server(on, aws).await?, database.as_deref(), &text)
}

fn user_of_environment() -> Option<String> {
    std::env::var("PGUSER").ok().filter(|user| !user.is_empty())
}

async fn instance_server(id: &str, aws: Option<&Aws>) -> Result<Server> {
    let aws = aws.ok_or_else(|| {
        Error::request(format!("where `{id}` is cannot be asked: the runbook has no `needs: aws`"))
    })?;
    let instance = aws.existing_instance(&InstanceId::parse(id)?).await?;
    let (host, port) = instance.endpoint.clone().ok_or_else(|| {
        Error::outside(format!("AWS names no endpoint for `{id}`")).hint("Wait until it is available.")
    })?;
    Ok(Server {
        host,
        port,
        user: user_of_environment().unwrap_or(instance.master_user),
        password: None,
        tls: Tls { mode: TlsMode::VerifyFull, authorities: authorities_of_environment() },
        application_name: "lifeboat runbook".to_owned(),
    })
}

fn authorities_of_environment() -> Option<PathBuf> {
    std::env::var_os("PGSSLROOTCERT").filter(|path| !path.is_empty()).map(Into::into)
}

/// The server and the database that a step means, for a connection of our own: what psql would be told, with its password.
pub(super) async fn server(place: &Place, values: &Values, aws: Option<&Aws>) -> Result<(Server, String)> {
    let named = place.db.as_ref().map(|db| values.fill(db).map_err(Error::request)).transpose()?;
    let of_environment = || std::env::var("PGDATABASE").ok().filter(|database| !database.is_empty());
    let (mut server, database) = match &place.on {
        None => (server_of_environment()?, None),
        Some(on) => {
            let name = on.trim_matches(['{', '}', '$', ' ']);
            let on = values.text(name).ok_or_else(|| Error::request(format!("`{name}` has no value yet")))?;
            if is_url(on) {
                let target = Target::parse(on, user_of_environment().as_deref())?;
                (target.server, target.database)
            } else {
                (instance_server(on, aws).await?, None)
            }
        }
    };
    if server.password.is_none() {
        server.password = std::env::var("PGPASSWORD").ok().filter(|text| !text.is_empty()).map(Password::new);
    }
    if server.password.is_none()
        && let Some(file) = pgpass()
    {
        server.password = from_pgpass(&file, &server.host, server.port, &server.user).0;
    }
    "lifeboat runbook".clone_into(&mut server.application_name);
    let database = named.or(database).or_else(of_environment).unwrap_or_else(|| server.user.clone());
    Ok((server, database))
}

/// The file that libpq would take a password from.
fn pgpass() -> Option<PathBuf> {
    match std::env::var_os("PGPASSFILE") {
        Some(file) => Some(PathBuf::from(file)),
        None => Some(PathBuf::from(std::env::var_os("HOME")?).join(".pgpass")),
    }
}

/// As libpq reads its environment.
fn server_of_environment() -> Result<Server> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    for name in ["PGSERVICE", "PGHOSTADDR", "PGSSLCERT"] {
        if variable(name).is_some() {
            return Err(Error::request(format!("{name} is set, and `read-only` steps do not support it"))
                .hint("Set PGHOST, PGPORT, PGUSER and PGDATABASE, or name a URL with `on=PARAMETER`."));
        }
    }
    let host = variable("PGHOST").unwrap_or_else(|| {
        let usual = ["/var/run/postgresql", "/tmp"];
        let has_socket = |folder: &&&str| std::path::Path::new(folder).join(".s.PGSQL.5432").exists();
        usual.iter().find(has_socket).map_or("localhost", |folder| *folder).to_owned()
    });
    let port = variable("PGPORT").map_or(Ok(5432), |port| port.parse());
    let port = port.map_err(|_| Error::request("PGPORT is not a port"))?;
    let user = variable("PGUSER").or_else(|| variable("USER")).unwrap_or_else(|| "postgres".to_owned());
    let mode = match variable("PGSSLMODE").as_deref() {
        None | Some("prefer" | "allow") => TlsMode::Prefer,
        Some("disable") => TlsMode::Disable,
        Some("require") => TlsMode::Require,
        Some("verify-ca") => TlsMode::VerifyCa,
        Some("verify-full") => TlsMode::VerifyFull,
        Some(other) => {
            return Err(Error::request(format!(
                "PGSSLMODE is `{}`, which is no mode",
                other.escape_default()
            )));
        }
    };
    Ok(Server {
        host,
        port,
        user,
        password: None,
        tls: Tls { mode, authorities: authorities_of_environment() },
        application_name: String::new(),
    })
}

/// What psql reads: its variables, then the SQL.
pub(super) fn script(sql: &str, values: &Values) -> String {
    let mut text = String::new();
    for (name, value) in values.iter().filter(|(name, value)| is_name(name) && !value.contains('\0')) {
        let quoted =
            value.replace('\\', "\\\\").replace('\'', "''").replace('\n', "\\n").replace('\r', "\\r");
        text.push_str(&format!("\\set {name} '{quoted}'\n"));
    }
    text.push_str(sql);
    // A statement that is not ended would not be sent.
    if !sql.trim_end().ends_with(';') {
        text.push_str("\n;");
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_quoted_for_psql() {
        let mut values = Values::default();
        values.set("a", "it's \\ \n\\! id", false);
        assert_eq!(script("select :'a'", &values), "\\set a 'it''s \\\\ \\n\\\\! id'\nselect :'a'\n;\n");
    }
}
