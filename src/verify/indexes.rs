//! Whether the indexes of a copy find every row. Fingerprints read tables and never an index, so an index that lost an
//! entry, or whose page is damaged, would go unseen and lose rows to every query that uses it.
//!
//! PostgreSQL's own amcheck does it: structure, order, and that each row of the table has an entry. It may have to be
//! created in the copy, so this comes last, and only ever in a copy. It knows B-trees only. An index over text depends on
//! the collations of the host; where their version is not the recorded one, the index cannot be checked.

use super::connections::Databases;
use super::judge::DefinitionVerdict;
use crate::error::Result;
use crate::postgres::Session;
use crate::words::format_count;

/// What was found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Indexes {
    /// Indexes that are damaged.
    pub damaged: Vec<DefinitionVerdict>,
    /// What was not checked, and why.
    pub not_tested: Vec<String>,
    /// How many are sound.
    pub sound: usize,
}

struct Index {
    oid: u32,
    name: String,
    is_b_tree: bool,
    /// Whether it orders text by a collation of the host.
    depends_on_host: bool,
}

const LIST: &str = "
    select i.indexrelid, format('%I.%I', n.nspname, c.relname), m.amname = 'btree',
           exists (select from unnest(i.indcollation::oid[]) used(oid) join pg_collation l on l.oid = used.oid
                   where l.collprovider <> 'b' and l.collname not in ('C', 'POSIX', 'C.UTF-8', 'ucs_basic')
                     and not (l.collprovider = 'd' and (select d.datcollate in ('C', 'POSIX', 'C.UTF-8')
                              from pg_database d where d.datname = current_database())))
    from pg_index i join pg_class c on c.oid = i.indexrelid join pg_namespace n on n.oid = c.relnamespace
    join pg_am m on m.oid = c.relam join pg_class t on t.oid = i.indrelid
    where i.indisvalid and i.indisready and i.indislive and c.relkind = 'i' and t.relpersistence = 'p'
      and n.nspname not in ('pg_catalog', 'information_schema', 'pg_toast') and n.nspname !~ '^pg_(temp|toast_temp)_'
    order by pg_relation_size(i.indexrelid)";

impl Indexes {
    /// Checks every index of the databases of a copy.
    pub(crate) async fn check_indexes(copy: &Databases) -> Result<Self> {
        let mut found = Indexes::default();
        for name in copy.database_names() {
            let session = copy.connect_to(name).await?;
            found.check_database(&session).await?;
        }
        Ok(found)
    }

    async fn check_database(&mut self, session: &Session) -> Result<()> {
        let database = session.database().to_owned();
        let indexes: Vec<Index> = session
            .rows(LIST, &[])
            .await?
            .iter()
            .map(|row| Index {
                oid: row.get(0),
                name: row.get(1),
                is_b_tree: row.get(2),
                depends_on_host: row.get(3),
            })
            .collect();
        if indexes.is_empty() {
            return Ok(());
        }
        let collations = collations_apart(session).await?;
        let check = match find_amcheck(session).await {
            Ok(check) => check,
            Err(reason) => {
                self.not_tested.push(format!(
                    "indexes of database `{database}`: {} could not be checked, because amcheck is not available: {reason}",
                    format_indexes(indexes.len())
                ));
                return Ok(());
            }
        };
        let (trees, others): (Vec<Index>, Vec<Index>) =
            indexes.into_iter().partition(|index| index.is_b_tree);
        if !others.is_empty() {
            self.not_tested.push(format!(
                "indexes of database `{database}`: {}, which amcheck cannot check: they are not B-trees",
                format_indexes(others.len())
            ));
        }
        let (unsure, trees): (Vec<Index>, Vec<Index>) =
            trees.into_iter().partition(|index| index.depends_on_host && !collations.is_empty());
        if !collations.is_empty() {
            self.not_tested.push(format!(
                "indexes of database `{database}`: {} on text columns, because the collations of the copy's host have other \
                 versions than the database records ({}): run REINDEX before you use such a copy",
                format_indexes(unsure.len()),
                collations.join(", ")
            ));
        }
        for index in trees {
            match session.execute(&format!("select {check}({}::oid::regclass, true)", index.oid)).await {
                Ok(()) => self.sound += 1,
                Err(failure) if failure.is_damage() => {
                    let reason = format!("damaged in the copy: {failure}");
                    let found = DefinitionVerdict::of_difference(&database, "index", &index.name, reason);
                    self.damaged.push(found);
                }
                Err(failure) if failure.session_survives() => self
                    .not_tested
                    .push(format!("index `{database}.{}` could not be checked: {failure}", index.name)),
                Err(failure) => return Err(failure.into()),
            }
        }
        Ok(())
    }
}

fn format_indexes(indexes: usize) -> String {
    format_count(indexes, "index", "indexes")
}

/// The name of amcheck's function, which is created with its extension where the server offers it.
async fn find_amcheck(session: &Session) -> std::result::Result<String, String> {
    const FIND: &str = "
        select format('%I.bt_index_check', n.nspname), has_function_privilege(p.oid, 'execute')
        from pg_proc p join pg_namespace n on n.oid = p.pronamespace join pg_depend d on d.objid = p.oid and d.deptype = 'e'
        join pg_extension e on e.oid = d.refobjid
        where e.extname = 'amcheck' and p.proname = 'bt_index_check' and p.pronargs = 2";
    for attempt in 0..2 {
        let rows = session.rows(FIND, &[]).await.map_err(|failure| failure.to_string())?;
        match rows.first() {
            Some(row) if row.get(1) => return Ok(row.get(0)),
            Some(_) => return Err("the user lacks EXECUTE on its functions".to_owned()),
            None if attempt == 0 => {
                let create = "begin read write; create extension amcheck schema public; commit";
                if let Err(failure) = session.execute(create).await {
                    let reason = failure.to_string();
                    if failure.session_survives() {
                        session.execute("rollback").await.map_err(|failure| failure.to_string())?;
                    }
                    return Err(reason);
                }
            }
            None => {}
        }
    }
    Err("the extension has no bt_index_check".to_owned())
}

/// Collations whose version on this host is not the one that the database records.
async fn collations_apart(session: &Session) -> Result<Vec<String>> {
    let sql = "select format('%I.%I', n.nspname, c.collname) from pg_collation c join pg_namespace n on n.oid = c.collnamespace
               where c.collversion is not null and c.collprovider <> 'd' and c.collencoding in (-1, (select encoding from pg_database where datname = current_database()))
                 and c.collversion is distinct from pg_collation_actual_version(c.oid) order by 1";
    let mut apart: Vec<String> = session.rows(sql, &[]).await?.iter().map(|row| row.get(0)).collect();
    let version: i32 = session.row("select current_setting('server_version_num')::int4", &[]).await?.get(0);
    // Before PostgreSQL 15 a database did not record the version of its own.
    if version >= 150_000 {
        let sql =
            "select 1 from pg_database where datname = current_database() and datcollversion is not null
                   and datcollversion is distinct from pg_database_collation_actual_version(oid)";
        if !session.rows(sql, &[]).await?.is_empty() {
            apart.push("the database's default".to_owned());
        }
    }
    Ok(apart)
}
