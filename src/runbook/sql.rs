//! SQL steps: psql, as a person would use it, with the values as its variables (`:'name'`).

use super::document::Place;
use super::shell::is_name;
use super::values::Values;
use crate::aws::Aws;
use crate::error::{Error, Result};
use crate::fleet::InstanceId;
use crate::postgres::{Psql, Server, Target, Tls, TlsMode, is_url};

/// Whether SQL is sure to only read; it is then also sent that way.
pub(super) fn only_reads(sql: &str) -> bool {
    let is_said = |line: &&str| !line.is_empty() && !line.starts_with("--");
    let first = sql.lines().map(str::trim).find(is_said).unwrap_or_default().to_lowercase();
    let has_commands_of_psql = sql.lines().any(|line| line.trim_start().starts_with('\\'));
    !has_commands_of_psql
        && ["select ", "show ", "table ", "values ", "explain "]
            .iter()
            .any(|word| first.starts_with(word) || first == word.trim())
}

/// psql, ready to send `sql` to where a step says.
pub(super) async fn command(sql: &str, place: &Place, values: &Values, aws: Option<&Aws>) -> Result<Psql> {
    let database = place.db.as_ref().map(|db| values.fill(db).map_err(Error::request)).transpose()?;
    let text = script(sql, values);
    let Some(on) = &place.on else { return Psql::of_environment(database.as_deref(), &text) };
    let name = on.trim_matches(['{', '}', '$', ' ']);
    let on = values.text(name).ok_or_else(|| Error::request(format!("`{name}` has no value yet")))?;
    let user = std::env::var("PGUSER").ok().filter(|user| !user.is_empty());
    if is_url(on) {
        let target = Target::parse(on, user.as_deref())?;
        return Psql::of(&target.server, database.or(target.database).as_deref(), &text);
    }
    let aws = aws.ok_or_else(|| {
        Error::request(format!("where `{on}` is cannot be asked: the runbook has no `needs: aws`"))
    })?;
    let instance = aws.existing_instance(&InstanceId::parse(on)?).await?;
    let (host, port) = instance.endpoint.clone().ok_or_else(|| {
        Error::outside(format!("AWS names no endpoint for `{on}`")).hint("Wait until it is available.")
    })?;
    let authorities = std::env::var_os("PGSSLROOTCERT").filter(|path| !path.is_empty()).map(Into::into);
    let server = Server {
        host,
        port,
        user: user.unwrap_or(instance.master_user),
        password: None,
        tls: Tls { mode: TlsMode::VerifyFull, authorities },
        application_name: "lifeboat runbook".to_owned(),
    };
    Psql::of(&server, database.as_deref(), &text)
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
        assert!(
            only_reads("-- x\nselect 1") && !only_reads("delete from x") && !only_reads("select 1\n\\! rm")
        );
    }
}
