//! Backups while the clock is wrong.

use crate::offline::Offline;
use crate::support::{finish, finish_ahead};

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_40_days_ahead_never_costs_a_good_backup() {
    let place = Offline::new();
    let url = place.database("app.db", "wal", 10);
    for name in ["a", "b", "c"] {
        place.backup(&["create", "--url", &url, "--name", name]).await.assert_code(0);
    }
    place.age("a", 29);
    let ahead = async |arguments: &[&str]| {
        finish_ahead("+40d", &place.command(&[&["backup"], arguments].concat())).await
    };
    // Two backups from the future, so that they agree on the time; and the rules are asked for by hand.
    for name in ["d", "e"] {
        ahead(&["create", "--url", &url, "--name", name]).await.assert_code(0);
    }
    ahead(&["prune"]).await.assert_code(4).assert_says(&["clock is 40 days ahead"]);
    assert_eq!(place.files().len(), 10);
    // With the clock right again, they are new, and nothing that is young enough goes.
    place.backup(&["create", "--url", &url, "--name", "f"]).await.assert_code(0);
    place.backup(&["prune"]).await.assert_code(0);
    assert_eq!(place.files().len(), 12);
    place.backup(&["verify", "--all"]).await.assert_code(0);
    // Newest of all is one from the future: when the others have gone, the last good one still stays.
    for name in ["a", "b", "c", "f"] {
        place.backup(&["delete", name, "--confirm", name]).await.assert_code(0);
    }
    let run =
        finish(place.command(&["backup", "prune"]).env("BACKUP_RETENTION_DAYS", "1").spawn().unwrap()).await;
    run.assert_code(0);
    assert_eq!(place.files().len(), 4);
}
