//! Whether a restored copy holds what its source held; where nothing was recorded of the source, what the dump held.

use std::collections::BTreeMap;

use super::plan::Plan;
use super::scratch::ScratchDatabase;
use crate::backup::finding::{Deviation, Finding};
use crate::backup::judge::{Part, Parts, judge_restored};
use crate::backup::token::TableName;
use crate::backup::tolerance::Omissions;
use crate::error::Result;
use crate::postgres::quote_identifier;

/// Holds a restored copy against what was recorded of its source. Where nothing was, because something else had made the
/// dump, it is held against the dump; then whatever the server refused is missing, and nothing else would say so.
pub(super) async fn judge_copy(
    plan: &Plan,
    scratch: &ScratchDatabase<'_>,
    dumped: &BTreeMap<TableName, u64>,
    omissions: &Omissions,
) -> Result<Finding> {
    let manifest = &plan.manifest;
    let parts = Parts {
        owners: Part::left_out_if(plan.options.tolerance.no_owner),
        settings: Part::left_out_if(omissions.settings),
    };
    let mut finding = match manifest.is_adopted() && manifest.observation.is_none() {
        true => count_restored_rows(scratch, dumped).await?,
        false => judge_restored(manifest, scratch.server, &scratch.name, parts).await?,
    };
    if manifest.observation.is_none() {
        finding.deviations.extend(omissions.complaints.iter().map(|refused| Deviation {
            name: refused.what.clone(),
            text: format!("{}: {}", refused.what, refused.why),
        }));
    }
    Ok(finding)
}

/// Counts the rows of a restored copy, table by table, and holds them against those of the dump.
async fn count_restored_rows(
    scratch: &ScratchDatabase<'_>,
    dumped: &BTreeMap<TableName, u64>,
) -> Result<Finding> {
    let session = scratch.server.connect(&scratch.name).await?;
    let mut finding = Finding::default();
    let found = session
        .rows(
            "select n.nspname::text, c.relname::text, c.relkind = 'p',
                    exists (select from pg_catalog.pg_depend d where d.classid = 'pg_catalog.pg_class'::regclass
                            and d.objid = c.oid and d.deptype = 'e')
             from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
             where c.relkind in ('r', 'p')",
            &[],
        )
        .await?;
    let restored: BTreeMap<TableName, (bool, bool)> =
        found.iter().map(|row| ((row.get(0), row.get(1)), (row.get(2), row.get(3)))).collect();
    session.execute("set row_security = off").await?;
    for (table, rows) in dumped {
        let name = format!("{}.{}", quote_identifier(&table.0), quote_identifier(&table.1));
        let Some((is_partitioned, is_of_extension)) = restored.get(table).copied() else {
            finding.deviations.push(deviation(&name, "is missing"));
            continue;
        };
        // Rows of an extension's tables are partly those that the extension itself makes.
        if is_of_extension {
            continue;
        }
        let only = if is_partitioned { "" } else { "only " };
        let sql = format!("select count(*) from {only}{name}");
        let counted: i64 = session.row(&sql, &[]).await?.get(0);
        finding.checked.0 += 1;
        finding.checked.1 += u64::try_from(counted).unwrap_or_default();
        if u64::try_from(counted) != Ok(*rows) {
            let what = format!("has {counted} rows, and the dump holds {rows}");
            finding.deviations.push(deviation(&name, &what));
        }
    }
    finding
        .notes
        .push("nothing was recorded of the source, so only the rows of the dump were checked".to_owned());
    Ok(finding)
}

fn deviation(table: &str, what: &str) -> Deviation {
    Deviation { name: format!("table {table}"), text: format!("table `{table}` {what}") }
}
