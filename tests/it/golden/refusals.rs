//! Errors with their hints, by noun.

use super::Scene;
use crate::backup::Place;

#[tokio::test(flavor = "multi_thread")]
async fn command_lines_that_cannot_be_meant() {
    let place = Place::new();
    let mut scene = Scene::of_place(&place);
    scene
        .pipe_each(&[
            "",
            "nonsense",
            "drill",
            "drill rnu",
            "drill run",
            "drill run a --from",
            "--color pink status",
        ])
        .await;
    scene.assert_golden("refused-command-lines");
}
