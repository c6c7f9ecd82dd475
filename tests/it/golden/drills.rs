//! Drills that are recorded: a year of them, the page for the auditor, and evidence that was altered.

use super::{Clock, Scene};
use crate::backup::Place;
use crate::calendar::{a_record, recorded};

#[tokio::test(flavor = "multi_thread")]
async fn a_year_of_drills_is_listed_reported_and_checked() {
    let place = Place::new();
    let vault = place.path("vault");
    for (source, day, verdict) in [
        ("orders-prod", "2025-10-15", "pass"),
        ("orders-prod", "2025-11-15", "fail"),
        ("orders-prod", "2025-11-20", "pass"),
        ("billing", "2025-12-01", "unknown"),
        ("orders-prod", "2026-01-15", "pass"),
    ] {
        recorded(&vault, &a_record(), source, day, verdict);
    }
    let mut scene = Scene::of_place(&place);
    scene.clock = Clock::Still("2026-02-03 12:00:00");
    scene.report("drill list").await;
    scene.report("drill list --from 2025-10-01 --to 2026-01-31 --vault-only").await;
    scene.pipe("drill list --last-months 3 --vault-only --check").await;
    scene.report("drill show 20251115-030000-abcdef").await;
    scene.terminal("drill annotate 20251115-030000-abcdef --note Mended --sign-off grace").await;
    scene.assert_golden("drill-year");
    scene.report("drill report --from 2025-10-01 --to 2026-01-31 --vault-only --output report.html").await;
    scene.assert_golden("drill-report");
    scene.page("report.html", &std::fs::read_to_string(place.path("report.html")).unwrap());
    scene.assert_golden("page-drill-report");
    scene.report("drill verify-evidence").await;
    std::fs::write(vault.join("drills/orders-prod/20251115-030000-abcdef/evidence.json"), "{}").unwrap();
    std::fs::remove_file(vault.join("drills/orders-prod/chain/000003.json")).unwrap();
    scene.report("drill verify-evidence").await;
    scene.assert_golden("drill-verify-evidence");
}
