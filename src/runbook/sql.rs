//! Where SQL steps run, and psql for those that change something: as a person would use it, with the values as its variables (`:'name'`).

use std::path::PathBuf;

use super::document::SqlTarget;
use super::shell::is_name;
use super::values::Values;
use crate::aws::Aws;
use crate::error::{Error, Result};
use crate::postgres::{Psql, Server, Target, Tls, TlsMode, is_connection_string};
use crate::rds::InstanceId;

/// A psql command that runs `sql` on the database of a step.
pub(super) async fn command(sql: &str, to: &SqlTarget, values: &Values, aws: Option<&Aws>) -> Result<Psql> {
    let database = to.db.as_ref().map(|db| values.fill(db).map_err(Error::request)).transpose()?;
    let text = script(sql, values);
    let Some(on) = &to.on else { return Psql::of_environment(database.as_deref(), &text) };
    let on = value_of(on, values)?;
    if is_connection_string(on) {
        let target = Target::parse(on)?.choose_server().await?;
        return Psql::of(&target.server, database.or(target.database).as_deref(), &text);
    }
    Psql::of(&instance_server(on, aws).await?, database.as_deref(), &text)
}

fn value_of<'v>(on: &str, values: &'v Values) -> Result<&'v str> {
    let name = on.trim_matches(['{', '}', '$', ' ']);
    values.get(name).ok_or_else(|| Error::request(format!("`{name}` has no value yet")))
}

fn user_of_environment() -> Option<String> {
    std::env::var("PGUSER").ok().filter(|user| !user.is_empty())
}

async fn instance_server(id: &str, aws: Option<&Aws>) -> Result<Server> {
    let aws = aws.ok_or_else(|| {
        Error::request(format!("the endpoint of `{id}` cannot be looked up: the runbook has no `needs: aws`"))
    })?;
    let instance = aws.existing_instance(&InstanceId::parse(id)?).await?;
    let (host, port) = instance.endpoint.clone().ok_or_else(|| {
        Error::outside(format!("AWS reports no endpoint for `{id}`")).hint("Wait until it is available.")
    })?;
    let user = user_of_environment().unwrap_or(instance.master_user);
    let mut server = Target::of_login(&host, port, &user);
    server.tls = Tls::new(TlsMode::VerifyFull, authorities_of_environment());
    "lifeboat runbook".clone_into(&mut server.application_name);
    Ok(server)
}

fn authorities_of_environment() -> Option<PathBuf> {
    std::env::var_os("PGSSLROOTCERT").filter(|path| !path.is_empty()).map(Into::into)
}

/// The server and the database that a step means, for a connection of our own: psql's parameters, with the password.
pub(super) async fn server(to: &SqlTarget, values: &Values, aws: Option<&Aws>) -> Result<(Server, String)> {
    let named = to.db.as_ref().map(|db| values.fill(db).map_err(Error::request)).transpose()?;
    let (mut server, database) = match &to.on {
        None => {
            let target = Target::of_environment()?.choose_server().await?;
            (target.server, target.database)
        }
        Some(on) => {
            let on = value_of(on, values)?;
            if is_connection_string(on) {
                let target = Target::parse(on)?.choose_server().await?;
                (target.server, target.database)
            } else {
                (instance_server(on, aws).await?, Target::of_environment()?.database)
            }
        }
    };
    "lifeboat runbook".clone_into(&mut server.application_name);
    let database = named.or(database).unwrap_or_else(|| server.user.clone());
    Ok((server, database))
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
