//! The definitions in a database: what there is besides rows, each thing with a digest of its definition.
//!
//! Digests are taken in the server from PostgreSQL's own deparsed definitions, under an empty search path, so that
//! they do not depend on object ids and are the same on every server of one major version. What an extension brought
//! along is covered by the extension and its version.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::postgres::Session;

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
    /// Last value handed out; none yet, or not readable.
    pub last_value: Option<i64>,
    /// Step.
    pub increment: i64,
}

/// Sequences of a database, by qualified name.
pub type Sequences = BTreeMap<String, SequenceState>;

/// Every part of the query is `(kind, name, definition)`.
const DEFINITIONS: &str = "
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
        select 'schema', quote_ident(nspname), concat_ws(' ', nspowner::regrole, acl(nspacl))
        from pg_namespace where oid not in (select oid from skipped_schema)
        union all
        select 'extension', quote_ident(extname), concat_ws(' ', extversion, extnamespace::regnamespace) from pg_extension
        union all
        select 'columns', r.name,
               string_agg(concat_ws(' ', quote_ident(a.attname), format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity,
                                    a.attgenerated, a.attcollation::regcollation, pg_get_expr(d.adbin, d.adrelid), acl(a.attacl)),
                          ', ' order by a.attname) -- a dump may restore inherited columns in another order
        from relation r join pg_attribute a on a.attrelid = r.oid and a.attnum > 0 and not a.attisdropped
        left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
        where r.relkind in ('r', 'p', 'v', 'm', 'f') group by r.name
        union all
        select 'rights', name, concat_ws(' ', relrowsecurity, relforcerowsecurity, acl(relacl))
        from relation where relkind in ('r', 'p', 'v', 'm', 'f', 'S')
        union all
        select 'owner', name, relowner::regrole::text from relation where relkind in ('r', 'p', 'v', 'm', 'f', 'S')
        union all
        select 'storage', name, concat_ws(' ', relkind, relpersistence, pg_get_partkeydef(oid), pg_get_expr(relpartbound, oid), reloptions,
                                          (select string_agg(inhparent::regclass::text, ',' order by inhseqno) from pg_inherits where inhrelid = oid))
        from relation where relkind in ('r', 'p', 'v', 'm', 'f')
        union all
        select 'constraint', format('%s on %s', quote_ident(conname), r.name),
               concat_ws(' ', pg_get_constraintdef(o.oid), convalidated)
        from pg_constraint o join relation r on r.oid = o.conrelid where contype <> 'n' -- PostgreSQL 18 also names NOT NULL
        union all
        select 'index', x.name, concat_ws(' ', pg_get_indexdef(i.indexrelid), i.indisvalid, i.indisready, i.indisclustered)
        from pg_index i join relation x on x.oid = i.indexrelid
        union all
        select 'view', name, pg_get_viewdef(oid) from relation where relkind in ('v', 'm')
        union all
        select 'rule', format('%s on %s', quote_ident(rulename), r.name), pg_get_ruledef(u.oid)
        from pg_rewrite u join relation r on r.oid = u.ev_class where rulename <> '_RETURN'
        union all
        select 'trigger', format('%s on %s', quote_ident(tgname), r.name), concat_ws(' ', pg_get_triggerdef(t.oid), tgenabled)
        from pg_trigger t join relation r on r.oid = t.tgrelid where not tgisinternal
        union all
        select 'policy', format('%s on %s', quote_ident(polname), r.name),
               concat_ws(' ', polcmd, polpermissive, polroles::regrole[], pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid))
        from pg_policy p join relation r on r.oid = p.polrelid
        union all
        select 'sequence', r.name, concat_ws(' ', seqtypid::regtype, seqstart, seqincrement, seqmax, seqmin, seqcache, seqcycle)
        from pg_sequence s join relation r on r.oid = s.seqrelid
        union all
        select 'function', format('%I.%I(%s)', n.nspname, p.proname, pg_get_function_identity_arguments(p.oid)),
               concat_ws(' ', case when p.prokind = 'a' then concat_ws(' ', a.aggtransfn, a.aggfinalfn, a.agginitval)
                                   else pg_get_functiondef(p.oid) end, p.proowner::regrole, acl(p.proacl))
        from pg_proc p join pg_namespace n on n.oid = p.pronamespace left join pg_aggregate a on a.aggfnoid = p.oid
        where p.pronamespace not in (select oid from skipped_schema)
          and not exists (select from pg_depend where classid = 'pg_proc'::regclass and objid = p.oid and deptype in ('e', 'i'))
        union all
        select 'type', format('%I.%I', n.nspname, t.typname),
               concat_ws(' ', t.typtype, t.typowner::regrole, format_type(t.typbasetype, t.typtypmod), t.typnotnull, coalesce(pg_get_expr(t.typdefaultbin, 0), t.typdefault),
                         (select string_agg(quote_literal(enumlabel), ',' order by enumsortorder) from pg_enum where enumtypid = t.oid),
                         (select string_agg(format_type(rngsubtype, null), ',') from pg_range where rngtypid = t.oid),
                         (select string_agg(pg_get_constraintdef(oid), ',' order by conname) from pg_constraint where contypid = t.oid and contype <> 'n'),
                         (select string_agg(concat_ws(' ', quote_ident(attname), format_type(atttypid, atttypmod)), ',' order by attnum)
                          from pg_attribute where attrelid = t.typrelid and attnum > 0 and not attisdropped))
        from pg_type t join pg_namespace n on n.oid = t.typnamespace left join pg_class c on c.oid = t.typrelid
        where t.typnamespace not in (select oid from skipped_schema) and t.typcategory <> 'A'
          and (t.typtype in ('e', 'd', 'r') or (t.typtype = 'c' and c.relkind = 'c'))
          and not exists (select from of_extension where classid = 'pg_type'::regclass and objid = t.oid)
        union all
        select 'event trigger', quote_ident(evtname), concat_ws(' ', evtevent, evtenabled, evtfoid::regprocedure, evttags)
        from pg_event_trigger
        union all
        select 'publication', quote_ident(pubname), concat_ws(' ', puballtables, pubinsert, pubupdate, pubdelete) from pg_publication
        union all
        select 'collation', format('%I.%I', n.nspname, collname),
               concat_ws(' ', collprovider, collisdeterministic, pg_encoding_to_char(collencoding), collcollate, collctype)
        from pg_collation c join pg_namespace n on n.oid = c.collnamespace
        where c.collnamespace not in (select oid from skipped_schema)
          and not exists (select from of_extension where classid = 'pg_collation'::regclass and objid = c.oid)
        union all
        select 'statistics', format('%I.%I', n.nspname, stxname), pg_get_statisticsobjdef(s.oid)
        from pg_statistic_ext s join pg_namespace n on n.oid = s.stxnamespace where s.stxnamespace not in (select oid from skipped_schema)
        union all
        select 'operator', format('%I.%s (%s, %s)', n.nspname, oprname, format_type(nullif(oprleft, 0), null), format_type(nullif(oprright, 0), null)),
               oprcode::text
        from pg_operator o join pg_namespace n on n.oid = o.oprnamespace
        where o.oprnamespace not in (select oid from skipped_schema)
          and not exists (select from of_extension where classid = 'pg_operator'::regclass and objid = o.oid)
        union all
        select 'cast', concat_ws(' as ', format_type(castsource, null), format_type(casttarget, null)),
               concat_ws(' ', castfunc::regprocedure, castcontext, castmethod)
        from pg_cast c
        where oid >= 16384 and not exists (select from of_extension where classid = 'pg_cast'::regclass and objid = c.oid)
        union all
        select 'foreign server', quote_ident(srvname), concat_ws(' ', fdwname, srvtype, srvversion, (select string_agg(split_part(o, '=', 1), ',' order by o) from unnest(srvoptions) o))
        from pg_foreign_server s join pg_foreign_data_wrapper w on w.oid = s.srvfdw
        union all
        select 'role', quote_ident(rolname), concat_ws(' ', rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolcanlogin, rolreplication,
               rolbypassrls, (select string_agg(g.rolname, ',' order by g.rolname) from pg_auth_members m join pg_roles g on g.oid = m.roleid
                              where m.member = r.oid))
        from pg_roles r
        where r.oid in (select refobjid from pg_shdepend where refclassid = 'pg_authid'::regclass
                        and dbid = (select oid from pg_database where datname = current_database()))
        union all
        select 'database', 'encoding and collation', concat_ws(' ', pg_encoding_to_char(encoding), datcollate, datctype)
        from pg_database where datname = current_database()
        union all
        select 'setting', concat_ws(' for ', split_part(setting, '=', 1), quote_ident(rolname)), setting
        from pg_db_role_setting d left join pg_roles r on r.oid = d.setrole cross join unnest(setconfig) setting
        where d.setdatabase = (select oid from pg_database where datname = current_database())
    )
    select kind, name, md5(string_agg(coalesce(body, ''), ' ' order by body)) from definition group by kind, name";

/// The rights in an ACL in a fixed order, since PostgreSQL keeps them in the order of the commands that granted them.
const ACL: &str = "(select string_agg(item::text, ',' order by item::text) from unnest({}) as item)";

/// Reads the definitions of a database, inside a transaction. The locks that deparsing takes are let go of at once.
pub(super) async fn definitions(session: &Session) -> Result<Definitions> {
    let mut all = Definitions::new();
    session.run("savepoint definitions").await?;
    let take = |row: tokio_postgres::Row| {
        let digest = Digest::try_from(row.get::<_, String>(2))
            .map_err(|error| Error::outside("a digest is not hexadecimal").caused_by(error))?;
        all.entry(row.get(0)).or_default().insert(row.get(1), digest);
        Ok(())
    };
    session.for_each(&with_acls(DEFINITIONS), take).await?;
    session.run("rollback to savepoint definitions").await?;
    Ok(all)
}

/// So many sequences are read by one statement.
const TOGETHER: usize = 100;

/// Reads where the sequences of a database stand, inside a transaction. One that we may not read stands nowhere.
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
    session.run("savepoint sequences").await?;
    for group in readable.chunks(TOGETHER) {
        let stands = |position: usize, name: &String| {
            format!("select {position}, case when is_called then last_value end from {name}")
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
                        let mut values = row
                            .iter()
                            .map(|value| value.as_deref().and_then(|text| text.parse::<i64>().ok()));
                        let (at, value) = (values.next().flatten(), values.next().flatten());
                        let name = at.and_then(|at| usize::try_from(at).ok()).and_then(|at| group.get(at));
                        if let Some(state) = name.and_then(|name| all.get_mut(name)) {
                            state.last_value = value;
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
            session.run("rollback to savepoint sequences").await?;
        }
    }
    Ok(all)
}

/// Writes out `acl(column)`.
fn with_acls(sql: &str) -> String {
    let mut parts = sql.split(" acl(");
    let mut whole = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (column, rest) = part.split_once(')').unwrap_or((part, ""));
        whole.push(' ');
        whole.push_str(&ACL.replace("{}", column));
        whole.push_str(rest);
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_acl_is_written_out() {
        let sql = with_acls(DEFINITIONS);
        assert!(!sql.contains("acl(") && sql.contains("unnest(relacl)") && sql.contains("unnest(p.proacl)"));
    }
}
