//! The definitions in a database: what there is besides rows, each thing with a digest of its definition.
//!
//! Digests are taken in the server from PostgreSQL's own deparsed definitions, under an empty search path, so that
//! they do not depend on object ids and are the same on every server of one major version. What an extension brought
//! along is covered by the extension and its version.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::postgres::{QueryFailure, Session};

/// Digests of the definitions of a database, by kind (`index`, `function`, …) and qualified name.
pub type Definitions = BTreeMap<String, BTreeMap<String, Digest>>;

/// MD5 of a definition, as hexadecimal digits where it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(u128);

impl TryFrom<String> for Digest {
    type Error = std::num::ParseIntError;

    fn try_from(text: String) -> std::result::Result<Self, Self::Error> {
        u128::from_str_radix(&text, 16).map(Digest)
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> String {
        format!("{:032x}", digest.0)
    }
}

/// Where a sequence stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SequenceState {
    /// Last value handed out, or the one before the first; none if it could not be read.
    pub last_value: Option<i64>,
    /// Step.
    pub increment: i64,
}

/// Sequences of a database, by qualified name.
pub type Sequences = BTreeMap<String, SequenceState>;

/// Every part of the query is `(kind, name, definition)`.
const DEFINITIONS: &str = r#"
    with skipped_schema as (
        select oid from pg_namespace
        where nspname in ('pg_catalog', 'information_schema', 'pg_toast') or nspname ~ '^pg_(temp|toast_temp)_'
    ), of_extension as (
        select classid, objid from pg_depend where deptype = 'e'
    ), relation as (
        select c.*, format('%I.%I', n.nspname, c.relname) as name
        from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where c.relnamespace not in (select oid from skipped_schema)
          and not exists (select from of_extension where classid = 'pg_class'::regclass and objid = c.oid)
    ), definition (kind, name, body) as (
        select 'schema', quote_ident(nspname), body(nspowner::regrole, acl(nspacl, 'n', nspowner))
        from pg_namespace where oid not in (select oid from skipped_schema)
        union all
        select 'extension', quote_ident(extname), body(extversion, extnamespace::regnamespace) from pg_extension
        union all
        select 'columns', r.name,
               string_agg(body(quote_ident(a.attname), format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity,
                                    a.attgenerated, a.attcollation::regcollation, pg_get_expr(d.adbin, d.adrelid), acl(a.attacl, 'c', r.relowner)),
                          ', ' order by a.attname) -- a dump may restore inherited columns in another order
        from relation r join pg_attribute a on a.attrelid = r.oid and a.attnum > 0 and not a.attisdropped
        left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
        where r.relkind in ('r', 'p', 'v', 'm', 'f') group by r.name
        union all
        select 'rights', name, body(acl(relacl, case relkind when 'S' then 's' else 'r' end::"char", relowner))
        from relation where relkind in ('r', 'p', 'v', 'm', 'f', 'S')
        union all
        select 'row security', name, body(relrowsecurity, relforcerowsecurity) from relation where relkind in ('r', 'p')
        union all
        select 'owner', name, relowner::regrole::text from relation where relkind in ('r', 'p', 'v', 'm', 'f', 'S')
        union all
        select 'storage', name, body(relkind, relpersistence, relreplident, pg_get_partkeydef(oid), pg_get_expr(relpartbound, oid), reloptions,
                                          (select ftoptions from pg_foreign_table where ftrelid = relation.oid),
                                          (select string_agg(inhparent::regclass::text, ',' order by inhseqno) from pg_inherits where inhrelid = oid))
        from relation where relkind in ('r', 'p', 'v', 'm', 'f')
        union all
        select 'constraint', format('%s on %s', quote_ident(conname), r.name),
               body(pg_get_constraintdef(o.oid), convalidated,
                    (select string_agg(tgenabled::text, '' order by tgtype, tgenabled) from pg_trigger where tgconstraint = o.oid))
        from pg_constraint o join relation r on r.oid = o.conrelid where contype <> 'n' -- PostgreSQL 18 also names NOT NULL
        union all
        select 'index', x.name, body(pg_get_indexdef(i.indexrelid), i.indisvalid, i.indisready, i.indisclustered, i.indisreplident)
        from pg_index i join relation x on x.oid = i.indexrelid
        union all
        select 'view', name, pg_get_viewdef(oid) from relation where relkind in ('v', 'm')
        union all
        select 'rule', format('%s on %s', quote_ident(rulename), r.name), body(pg_get_ruledef(u.oid), ev_enabled)
        from pg_rewrite u join relation r on r.oid = u.ev_class where rulename <> '_RETURN'
        union all
        select 'trigger', format('%s on %s', quote_ident(tgname), r.name), body(pg_get_triggerdef(t.oid), tgenabled)
        from pg_trigger t join relation r on r.oid = t.tgrelid where not tgisinternal
        union all
        select 'policy', format('%s on %s', quote_ident(polname), r.name),
               body(polcmd, polpermissive, polroles::regrole[], pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid))
        from pg_policy p join relation r on r.oid = p.polrelid
        union all
        select 'sequence', r.name, body(seqtypid::regtype, seqstart, seqincrement, seqmax, seqmin, seqcache, seqcycle,
               (select string_agg(format('%s.%I', a.attrelid::regclass, a.attname), ',') from pg_depend d join pg_attribute a on a.attrelid = d.refobjid
                and a.attnum = d.refobjsubid where d.classid = 'pg_class'::regclass and d.objid = r.oid and d.deptype in ('a', 'i')))
        from pg_sequence s join relation r on r.oid = s.seqrelid
        union all
        select 'function', format('%I.%I(%s)', n.nspname, p.proname, pg_get_function_identity_arguments(p.oid)),
               body(case when p.prokind = 'a' then body(a.aggtransfn, a.aggfinalfn, a.agginitval, a.aggcombinefn, a.aggmtransfn, a.aggsortop::regoperator)
                                   else pg_get_functiondef(p.oid) end, p.proowner::regrole, acl(p.proacl, 'f', p.proowner))
        from pg_proc p join pg_namespace n on n.oid = p.pronamespace left join pg_aggregate a on a.aggfnoid = p.oid
        where p.pronamespace not in (select oid from skipped_schema)
          and not exists (select from pg_depend where classid = 'pg_proc'::regclass and objid = p.oid and deptype in ('e', 'i'))
        union all
        select 'type', format('%I.%I', n.nspname, t.typname),
               body(t.typtype, t.typowner::regrole, acl(t.typacl, 'T', t.typowner), t.typcollation::regcollation, format_type(t.typbasetype, t.typtypmod), t.typnotnull, coalesce(pg_get_expr(t.typdefaultbin, 0), t.typdefault),
                         (select string_agg(quote_literal(enumlabel), ',' order by enumsortorder) from pg_enum where enumtypid = t.oid),
                         (select string_agg(concat_ws(' ', format_type(rngsubtype, null), rngcollation::regcollation, rngsubdiff), ',') from pg_range where rngtypid = t.oid),
                         (select string_agg(pg_get_constraintdef(oid), ',' order by conname) from pg_constraint where contypid = t.oid and contype <> 'n'),
                         (select string_agg(body(quote_ident(attname), format_type(atttypid, atttypmod), attcollation::regcollation), ',' order by attnum)
                          from pg_attribute where attrelid = t.typrelid and attnum > 0 and not attisdropped))
        from pg_type t join pg_namespace n on n.oid = t.typnamespace left join pg_class c on c.oid = t.typrelid
        where t.typnamespace not in (select oid from skipped_schema) and t.typcategory <> 'A'
          and (t.typtype in ('e', 'd', 'r') or (t.typtype = 'c' and c.relkind = 'c'))
          and not exists (select from of_extension where classid = 'pg_type'::regclass and objid = t.oid)
        union all
        select 'event trigger', quote_ident(evtname), body(evtevent, evtenabled, evtfoid::regprocedure, evttags)
        from pg_event_trigger
        union all
        select 'publication', quote_ident(pubname), body(puballtables, pubinsert, pubupdate, pubdelete, pubtruncate, pubviaroot, pubowner::regrole,
               (select string_agg(format('%I.%I %s', schemaname, tablename, to_jsonb(v)->>'rowfilter'), ',' order by schemaname, tablename)
                from pg_publication_tables v where v.pubname = p.pubname))
        from pg_publication p
        union all
        select 'collation', format('%I.%I', n.nspname, collname),
               body(collprovider, collisdeterministic, pg_encoding_to_char(collencoding), collcollate, collctype,
                    coalesce(to_jsonb(c)->>'colliculocale', to_jsonb(c)->>'colllocale'), to_jsonb(c)->>'collicurules')
        from pg_collation c join pg_namespace n on n.oid = c.collnamespace
        where c.collnamespace not in (select oid from skipped_schema)
          and not exists (select from of_extension where classid = 'pg_collation'::regclass and objid = c.oid)
        union all
        select 'statistics', format('%I.%I', n.nspname, stxname), pg_get_statisticsobjdef(s.oid)
        from pg_statistic_ext s join pg_namespace n on n.oid = s.stxnamespace where s.stxnamespace not in (select oid from skipped_schema)
        union all
        select 'operator', format('%I.%s (%s, %s)', n.nspname, oprname, format_type(nullif(oprleft, 0), null), format_type(nullif(oprright, 0), null)),
               body(oprcode, oprowner::regrole, oprcom::regoperator, oprnegate::regoperator, oprrest, oprjoin, oprcanhash, oprcanmerge)
        from pg_operator o join pg_namespace n on n.oid = o.oprnamespace
        where o.oprnamespace not in (select oid from skipped_schema)
          and not exists (select from of_extension where classid = 'pg_operator'::regclass and objid = o.oid)
        union all
        select 'cast', concat_ws(' as ', format_type(castsource, null), format_type(casttarget, null)),
               body(castfunc::regprocedure, castcontext, castmethod)
        from pg_cast c
        where oid >= 16384 and not exists (select from of_extension where classid = 'pg_cast'::regclass and objid = c.oid)
        union all
        select 'foreign server', quote_ident(srvname), body(fdwname, srvtype, srvversion, srvowner::regrole, acl(srvacl, 'S', srvowner), (select string_agg(split_part(o, '=', 1), ',' order by o) from unnest(srvoptions) o))
        from pg_foreign_server s join pg_foreign_data_wrapper w on w.oid = s.srvfdw
        union all
        select 'role', quote_ident(rolname), body(rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolcanlogin, rolreplication, rolbypassrls, rolconnlimit, rolvaliduntil,
               (select string_agg(setting, ',' order by setting) from pg_db_role_setting x cross join unnest(setconfig) setting
                where x.setrole = r.oid and x.setdatabase = 0),
               (select string_agg(g.rolname || m.admin_option::text, ',' order by g.rolname, m.admin_option) from pg_auth_members m join pg_roles g on g.oid = m.roleid
                              where m.member = r.oid))
        from pg_roles r
        where r.oid in (select refobjid from pg_shdepend where refclassid = 'pg_authid'::regclass
                        and dbid = (select oid from pg_database where datname = current_database()))
        union all
        select 'database', 'encoding and collation', body(pg_encoding_to_char(encoding), datcollate, datctype,
               coalesce(to_jsonb(d)->>'datlocprovider', 'c'), coalesce(to_jsonb(d)->>'daticulocale', to_jsonb(d)->>'datlocale'))
        from pg_database d where datname = current_database()
        union all
        select 'owner', 'the database', datdba::regrole::text from pg_database where datname = current_database()
        union all
        select 'rights', 'the database', acl(datacl, 'd', datdba) from pg_database where datname = current_database()
        union all
        select 'default rights', concat_ws(' ', defaclrole::regrole, defaclnamespace::regnamespace, defaclobjtype),
               acl(defaclacl, 'r', defaclrole)
        from pg_default_acl
        union all
        select 'large objects', 'all', body(count(*), sum(hashoidextended(oid, 0))) from pg_largeobject_metadata having count(*) > 0
        union all
        select 'setting', concat_ws(' for ', split_part(setting, '=', 1), quote_ident(rolname)), setting
        from pg_db_role_setting d left join pg_roles r on r.oid = d.setrole cross join unnest(setconfig) setting
        where d.setdatabase = (select oid from pg_database where datname = current_database())
    )
    select kind, name, md5(string_agg(coalesce(body, ''), ' ' order by body)) from definition group by kind, name"#;

/// The rights in an ACL, in a fixed order: PostgreSQL keeps them in the order of the commands that granted them, and the
/// default ones as NULL until the first command. The owner is called so, since that it is another one is said elsewhere.
/// `MAINTAIN` is new in PostgreSQL 17.
fn acl(arguments: &[&str]) -> String {
    let [list, kind, owner] = arguments else { return String::new() };
    let role = |oid: &str| format!("case e.{oid} when {owner} then 'owner' else e.{oid}::regrole::text end");
    let (grantee, grantor) = (role("grantee"), role("grantor"));
    format!(
        "(select string_agg(format('%s=%s%s by %s', {grantee}, e.privilege_type, e.is_grantable, {grantor}), ','
                            order by {grantee}, e.privilege_type, {grantor})
          from aclexplode(coalesce({list}, acldefault({kind}, {owner}))) e where e.privilege_type <> 'MAINTAIN')"
    )
}

/// Several values as one text, in which NULL is not nothing.
fn body(arguments: &[&str]) -> String {
    format!("row({})::text", arguments.join(","))
}

/// Writes out every `name(…)` in `sql`, innermost first.
fn written_out(sql: &str, name: &str, write: fn(&[&str]) -> String) -> String {
    let start = format!("{name}(");
    let begins = |at: usize| !sql[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_');
    let Some(at) = sql.rmatch_indices(&start).map(|(at, _)| at).find(|at| begins(*at)) else {
        return sql.to_owned();
    };
    let inside = &sql[at + start.len()..];
    let (mut depth, mut commas, mut end, mut quoted) = (0_usize, Vec::new(), inside.len(), false);
    for (position, c) in inside.char_indices() {
        match c {
            '\'' => quoted = !quoted,
            _ if quoted => {}
            '(' | '[' => depth += 1,
            ')' if depth == 0 => {
                end = position;
                break;
            }
            ')' | ']' => depth -= 1,
            ',' if depth == 0 => commas.push(position),
            _ => {}
        }
    }
    let mut arguments = Vec::new();
    let mut from = 0;
    for to in commas.into_iter().chain([end]) {
        arguments.push(inside[from..to].trim());
        from = to + 1;
    }
    let rest = &inside[(end + 1).min(inside.len())..];
    written_out(&format!("{}{}{rest}", &sql[..at], write(&arguments)), name, write)
}

/// How often the definitions are asked for again when something was dropped under the query's hands.
const ATTEMPTS: usize = 30;

/// Reads the definitions of a database, outside of a transaction: PostgreSQL deparses them as they are now, so an older
/// snapshot would trip over everything that was dropped since. Even so, what is dropped between the listing and the
/// deparsing ends the query, which is then asked again.
pub(super) async fn definitions(session: &Session) -> Result<Definitions> {
    let sql = definitions_sql();
    let mut attempt = 1;
    loop {
        match session.rows(&sql, &[]).await {
            Ok(rows) => return digests(&rows),
            Err(failure) if failure.session_survives() && attempt < ATTEMPTS && is_a_race(&failure) => {
                tracing::debug!(%failure, attempt, "an object was dropped while definitions were being read");
                tokio::time::sleep(Duration::from_millis(20)).await;
                attempt += 1;
            }
            Err(failure) => return Err(failure.into()),
        }
    }
}

/// `cache lookup failed for index 16393`, `could not open relation with OID 16393`, or an undefined object.
fn is_a_race(failure: &QueryFailure) -> bool {
    let is_class = |class: &str| failure.sqlstate.as_deref().is_some_and(|state| state.starts_with(class));
    is_class("XX000") || is_class("42") || is_class("3F")
}

fn digests(rows: &[tokio_postgres::Row]) -> Result<Definitions> {
    let mut all = Definitions::new();
    for row in rows {
        let digest = Digest::try_from(row.get::<_, String>(2))
            .map_err(|error| Error::outside("a digest is not hexadecimal").caused_by(error))?;
        all.entry(row.get(0)).or_default().insert(row.get(1), digest);
    }
    Ok(all)
}

pub(super) fn definitions_sql() -> String {
    written_out(&written_out(DEFINITIONS, "acl", acl), "body", body)
}

/// So many sequences are read by one statement.
const TOGETHER: usize = 100;

/// Reads where the sequences of a database stand, outside of a transaction. One that we may not read stands nowhere.
///
/// They are read as the relations that they are: `pg_sequences` would lock each until the end of the transaction.
pub(super) async fn sequences(session: &Session) -> Result<Sequences> {
    let listed = session
        .rows(
            "select format('%I.%I', n.nspname, c.relname), s.seqincrement,
                    has_schema_privilege(n.oid, 'usage') and has_sequence_privilege(c.oid, 'select')
             from pg_sequence s join pg_class c on c.oid = s.seqrelid join pg_namespace n on n.oid = c.relnamespace
             where n.nspname !~ '^pg_' and c.relpersistence = 'p' order by 1",
            &[],
        )
        .await?;
    let mut all: Sequences = listed
        .iter()
        .map(|row| (row.get::<_, String>(0), SequenceState { last_value: None, increment: row.get(1) }))
        .collect();
    let readable: Vec<String> = listed
        .iter()
        .filter(|row| row.get::<_, Option<bool>>(2) == Some(true))
        .map(|row| row.get(0))
        .collect();
    for group in readable.chunks(TOGETHER) {
        let stands = |position: usize, name: &String| {
            format!("select {position}, last_value, is_called::text from {name}")
        };
        let sql = |names: &[String]| {
            let parts: Vec<String> = names.iter().enumerate().map(|(at, name)| stands(at, name)).collect();
            parts.join(" union all ")
        };
        let mut groups = vec![group];
        while let Some(group) = groups.pop() {
            match session.texts(&sql(group)).await {
                Ok(rows) => {
                    for row in rows {
                        let text = |column: usize| row.get(column).and_then(Option::as_deref);
                        let at = text(0).and_then(|text| text.parse::<usize>().ok());
                        let value = text(1).and_then(|text| text.parse::<i64>().ok());
                        let name = at.and_then(|at| group.get(at));
                        if let Some(state) = name.and_then(|name| all.get_mut(name)) {
                            // One that has handed out nothing yet stands a step before what comes next.
                            let step = if text(2) == Some("true") { 0 } else { state.increment };
                            state.last_value = value.map(|value| value.saturating_sub(step));
                        }
                    }
                }
                // One of them was dropped meanwhile: each by itself then, and that one is left out.
                Err(failure) if failure.session_survives() => {
                    if group.len() > 1 {
                        groups.extend(group.chunks(1));
                    } else {
                        all.remove(&group[0]);
                    }
                }
                Err(failure) => return Err(failure.into()),
            }
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_short_in_the_query_is_written_out() {
        let sql = definitions_sql();
        assert!(!sql.contains(" acl(") && !sql.contains("body("), "{sql}");
        assert_eq!(
            written_out("x body(a, f(b, ')'), body(c)) y", "body", body),
            "x row(a,f(b, ')'),row(c)::text)::text y"
        );
    }
}
