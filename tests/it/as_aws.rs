//! The local stack does what AWS does where they once differed: each section asks it through boto3.

use tokio::process::Command;

use crate::support::World;

async fn section(name: &str) {
    let world = World::new().await;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/as_aws.py");
    let done = Command::new("python3").args([script, &world.stack.endpoint(), name]).output().await.unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "run `make setup` for boto3\n{stdout}\n{stderr}");
    assert_eq!(stdout.trim(), name);
}

#[tokio::test(flavor = "multi_thread")]
async fn compressed_requests_are_understood() {
    section("compressed_requests").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_accounts_see_and_copy_what_is_shared_with_them_and_nothing_else() {
    section("shared_snapshots").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_moment_of_the_retention_can_be_restored_right_after_a_backup_too() {
    section("restorable_window").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_is_stopped_for_seven_days_at_most() {
    section("stopped_instances").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_are_none_or_lie_elsewhere_are_refused() {
    section("keys_of_kms").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn storage_has_the_bounds_of_its_type() {
    section("storage").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_have_the_numbers_and_categories_of_the_user_guide() {
    section("told_events").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_set_is_shown_so_that_nothing_is_set_twice() {
    section("settings_that_stay").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn parameter_groups_take_formulas_and_are_copied_and_reset() {
    section("parameter_groups").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_other_tools_make_are_answered() {
    section("other_calls").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replicated_backups_are_restored_by_their_arn() {
    section("replicated_backups").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_is_assumed_with_the_token_of_an_identity_provider() {
    section("roles_by_token").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn alarms_and_metrics_are_refused_and_paged_as_on_aws() {
    section("watching").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_filtered_and_refused_as_on_aws() {
    section("messages").await;
}
