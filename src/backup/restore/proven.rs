//! The file of a backup that is about to be restored.

use super::plan::Plan;
use crate::backup::context::Context;
use crate::backup::event::Event;
use crate::backup::examine::examine_file;
use crate::backup::finding::Finding;
use crate::backup::manifest::Level;
use crate::error::{Error, Kind, Result};
use crate::vault::Content;

/// The file of a backup, read to its end and found to be what was written. From here on this handle is used, and not the
/// name, behind which another file might come to lie.
pub(in crate::backup) struct Proven {
    pub(in crate::backup) file: Content,
    pub(in crate::backup) finding: Finding,
}

/// Reads the file of a backup to its end, and refuses it if it is damaged or not trusted.
pub(super) async fn prove_file(plan: &Plan, cx: &Context<'_>) -> Result<Proven> {
    (cx.tell)(Event::Phase("checking the backup"));
    let manifest = &plan.manifest;
    let file = cx.vault.open_file(&manifest.file_name())?;
    let options = &plan.options.read;
    let mut finding = examine_file(manifest, file.clone(), None, Level::Stream, options, cx).await?;
    let is_damaged = !finding.faults.is_empty();
    finding.refuse_unless(options.trust_in(manifest)?);
    if !is_damaged && !finding.faults.is_empty() {
        let name = &manifest.backup_name;
        return Err(Error::new(Kind::No, format!("backup `{name}` was refused: {}", finding.faults.join("; ")))
            .hint(
                "Nothing was changed. The backup may have been altered; if you trust the vault, pass `--trust-content`.",
            ));
    }
    if is_damaged {
        return Err(Error::new(
            Kind::No,
            format!("backup `{}` was refused: it is damaged", manifest.backup_name),
        )
        .caused_by(finding.faults.join("; "))
        .hint("Nothing was changed. `lifeboat backup list` shows other backups of this database."));
    }
    Ok(Proven { file, finding })
}
