//! What the catalog of a database says of its tables.

use std::collections::BTreeMap;

use super::depth::Depth;
use super::fingerprint::Column;
use super::observation::{Carried, Counted, Table, Vessel, WriteCounters, Written};
use super::read::read_reference;
use crate::error::Result;
use crate::postgres::{RawText, Session};

/// Every table of a database that holds rows of its own, and those that are deliberately not counted.
///
/// When a table was made is read off its system columns in `pg_attribute`: hardly anything ever touches those rows
/// again, while the row in `pg_class` is replaced by many commands.
const TABLES: &str = "
    with recursive resolved (oid, root) as (
        select oid, oid from pg_type where typtype <> 'd'
        union all
        select t.oid, r.root from pg_type t join resolved r on r.oid = t.typbasetype where t.typtype = 'd'
    ), base (oid, name) as (
        select r.oid, case when t.typtype = 'b' and t.typnamespace = 'pg_catalog'::regnamespace and t.typcategory <> 'A'
                           then t.typname::text end
        from resolved r join pg_type t on t.oid = r.root
    )
    select c.oid, n.nspname::text, c.relname::text, c.relkind::text, c.relpersistence::text,
           pg_relation_filenode(c.oid),
           has_schema_privilege(n.oid, 'USAGE') and has_table_privilege(c.oid, 'SELECT'),
           coalesce(pg_stat_get_tuples_inserted(c.oid), 0), coalesce(pg_stat_get_tuples_updated(c.oid), 0),
           coalesce(pg_stat_get_tuples_deleted(c.oid), 0),
           (select max(age(a.xmin))::int8 from pg_attribute a where a.attrelid = c.oid and a.attnum < 0),
           c.relkind = 'm' and not c.relispopulated, k.names, k.types, k.numbers, i.numbers,
           case when c.relkind <> 'f' then coalesce({size}, 0)::int8 else 0 end, {vessel}, age(c.xmin)::int8,
           (select array_agg(a.attname::text order by a.attnum) from pg_attribute a
            where a.attrelid = c.oid and a.attnum > 0 and a.attgenerated <> '' and not a.attisdropped),
           e.extname, e.condition
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    left join (
        select a.attrelid, array_agg(a.attname::text order by a.attnum) as names,
               array_agg(b.name order by a.attnum) as types,
               array_agg(a.attnum order by a.attnum) as numbers
        from pg_attribute a left join base b on b.oid = a.atttypid
        where a.attnum > 0 and not a.attisdropped group by a.attrelid
    ) k on k.attrelid = c.oid
    left join lateral (
        select x.indkey::int2[] as numbers from pg_index x
        where x.indrelid = c.oid and x.indisunique and x.indisvalid and x.indpred is null and x.indexprs is null
          and x.indnkeyatts = x.indnatts
          and not exists (select from pg_attribute a where a.attrelid = c.oid and a.attnum = any (x.indkey) and not a.attnotnull)
        order by x.indisprimary desc, x.indnkeyatts, x.indexrelid limit 1
    ) i on true
    left join lateral (
        select x.extname::text, x.extcondition[array_position(x.extconfig, c.oid)] as condition
        from pg_depend d join pg_extension x on x.oid = d.refobjid
        where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e' limit 1
    ) e on true
    where c.relkind in ('r', 'm', 'f')
      and n.nspname not in ('pg_catalog', 'information_schema', 'pg_toast') and n.nspname !~ '^pg_(temp|toast_temp)_'
       or c.oid = 'pg_catalog.pg_largeobject'::regclass and exists (select from pg_largeobject_metadata)
    order by 17 desc, n.nspname, c.relname";

/// What the files and statistics of a table say; statistics that this server has taken since it was started count for
/// nothing.
const VESSEL: &str = "
    case when c.reltuples >= 0
          and num_nonnulls(pg_stat_get_last_vacuum_time(c.oid), pg_stat_get_last_autovacuum_time(c.oid),
                           pg_stat_get_last_analyze_time(c.oid), pg_stat_get_last_autoanalyze_time(c.oid)) = 0
         then c.reltuples::int8 end,
    pg_relation_size(c.oid), (select max(pg_relation_size(indexrelid)) from pg_index where indrelid = c.oid)";

/// A managed service may not let anyone read them.
const LARGE_OBJECTS: &str = ": large objects can be read by superusers and members of pg_read_all_data; \
                             `--depth pg_catalog.pg_largeobject=schema` leaves them out";

/// The write counters and the file of every table.
pub(super) async fn read_write_counters(session: &Session) -> Result<BTreeMap<u32, Written>> {
    let rows = session
        .rows(
            "select c.oid, pg_relation_filenode(c.oid), coalesce(pg_stat_get_tuples_inserted(c.oid), 0),
                    coalesce(pg_stat_get_tuples_updated(c.oid), 0), coalesce(pg_stat_get_tuples_deleted(c.oid), 0)
             from pg_class c join pg_namespace n on n.oid = c.relnamespace
             where c.relkind in ('r', 'm', 'f')
               and n.nspname not in ('pg_catalog', 'information_schema', 'pg_toast') and n.nspname !~ '^pg_(temp|toast_temp)_'
                or c.oid = 'pg_catalog.pg_largeobject'::regclass",
            &[],
        )
        .await?;
    let written = |row: &tokio_postgres::Row| {
        let counters = WriteCounters { inserted: row.get(2), updated: row.get(3), deleted: row.get(4) };
        (row.get(0), Written { counters, filenode: row.get(1) })
    };
    Ok(rows.iter().map(written).collect())
}

/// Inside a transaction.
pub(super) async fn list_tables(session: &Session) -> Result<Vec<Table>> {
    let reference = read_reference(session).await?;
    let mut tables = Vec::new();
    let table = |row: &tokio_postgres::Row| {
        let (kind, persistence): (String, String) = (row.get(3), row.get(4));
        // Rights are NULL for a table that was dropped since; reading it will tell.
        let (schema, name): (RawText, RawText) = (row.get(1), row.get(2));
        let has_raw_names =
            row.get::<_, Option<Vec<RawText>>>(12).unwrap_or_default().iter().any(|name| !name.is_utf8());
        let counted = if kind == "f" {
            Counted::Skipped("a foreign table: its rows are not in this database".to_owned())
        } else if row.get(11) {
            Counted::Skipped("a materialized view that has never been populated".to_owned())
        } else if row.get::<_, Option<bool>>(6) == Some(false) {
            let large_objects = row.get::<_, u32>(0) == LARGE_OBJECT_PAGES;
            let way_out = if large_objects { LARGE_OBJECTS } else { "" };
            Counted::Unreadable(format!("permission denied{way_out}"))
        } else if has_raw_names || !schema.is_utf8() || !name.is_utf8() {
            Counted::Unreadable("its name or the name of a column is not valid UTF-8".to_owned())
        } else {
            Counted::Rows(0)
        };
        let columns = columns_of_row(row);
        let numbers: Vec<i16> = row.get::<_, Option<_>>(14).unwrap_or_default();
        let key: Vec<i16> = row.get::<_, Option<_>>(15).unwrap_or_default();
        let position = |number: &i16| numbers.iter().position(|other| other == number);
        let counters = WriteCounters { inserted: row.get(7), updated: row.get(8), deleted: row.get(9) };
        Table {
            oid: row.get(0),
            schema: schema.into_string(),
            name: name.into_string(),
            is_view: kind == "m",
            bytes: row.get::<_, i64>(16).unsigned_abs(),
            depth: Depth::Content,
            counted,
            written: Written { counters, filenode: row.get(5) },
            created_by: row.get::<_, Option<i64>>(10).map(|age| reference.id_of_age(age)),
            newest_write: None,
            strata: None,
            columns,
            key: key.iter().filter_map(position).collect(),
            fingerprint: None,
            vessel: row.get::<_, Option<i64>>(18).map(|bytes| Vessel {
                estimate: row.get::<_, Option<i64>>(17).and_then(|rows| u64::try_from(rows).ok()),
                bytes: bytes.unsigned_abs(),
                index_bytes: row.get::<_, Option<i64>>(19).unwrap_or_default().unsigned_abs(),
                altered_by: row.get::<_, Option<i64>>(20).map(|age| reference.id_of_age(age)),
            }),
            is_unlogged: persistence == "u",
            carried: carried_of_row(row),
        }
    };
    // The exact size of a table that someone has locked would be waited for; the planner's guess of it is not.
    let sizes = [
        ("pg_table_size(c.oid)", VESSEL),
        ("c.relpages * current_setting('block_size')::int8", "null::int8, null::int8, null::int8"),
    ];
    for (attempt, (size, vessel)) in sizes.into_iter().enumerate() {
        session.execute("savepoint sizes; set local lock_timeout = '1s'").await?;
        let take = |row| {
            tables.push(table(&row));
            Ok(())
        };
        let listed =
            session.for_each(&TABLES.replace("{size}", size).replace("{vessel}", vessel), take).await;
        session.execute("rollback to savepoint sizes").await?;
        match listed {
            Ok(()) => break,
            Err(error) if attempt + 1 == sizes.len() => return Err(error),
            Err(_) => tables.clear(),
        }
    }
    Ok(tables)
}

/// What a dump carries of a table.
fn carried_of_row(row: &tokio_postgres::Row) -> Option<Carried> {
    let computed: Option<Vec<String>> = texts_of_row(row, 21);
    let extension: Option<String> = row.get(22);
    match (extension, row.get::<_, Option<String>>(23), computed) {
        (Some(extension), Some(condition), _) => {
            Some(Carried::Condition { extension, condition, seen: None })
        }
        (Some(extension), None, _) => Some(Carried::Nothing { extension }),
        (None, _, computed) if computed.is_some() || columns_of_row(row).iter().any(Column::is_xml) => {
            Some(Carried::Columns { computed: computed.unwrap_or_default(), seen: None })
        }
        _ if row.get::<_, u32>(0) == LARGE_OBJECT_PAGES => Some(Carried::LargeObjects { seen: None }),
        _ => None,
    }
}

/// `pg_largeobject`, in every version.
const LARGE_OBJECT_PAGES: u32 = 2613;

fn texts_of_row(row: &tokio_postgres::Row, column: usize) -> Option<Vec<String>> {
    let texts: Option<Vec<RawText>> = row.get(column);
    texts.map(|texts| texts.into_iter().map(RawText::into_string).collect())
}

fn columns_of_row(row: &tokio_postgres::Row) -> Vec<Column> {
    let names = texts_of_row(row, 12).unwrap_or_default();
    let types: Vec<Option<String>> = row.get::<_, Option<_>>(13).unwrap_or_default();
    names.into_iter().zip(types).map(|(name, built_in_type)| Column { name, built_in_type }).collect()
}
