//! The local stack does what AWS does where they once differed: each section asks it through boto3.

use aws_sdk_rds::types::{ApplyMethod, Parameter};
use tokio::process::Command;

use crate::support::{PASSWORD, World, wait};

async fn section(name: &str) {
    let world = World::new().await;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/clients/as_aws.py");
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

impl World {
    async fn port_of(&self, id: &str) -> i32 {
        let answer = self.rds.describe_db_instances().db_instance_identifier(id).send().await.unwrap();
        answer.db_instances()[0].endpoint().unwrap().port().unwrap()
    }

    /// A parameter group of the newest PostgreSQL.
    async fn parameter_group(&self, name: &str) {
        let versions = self.rds.describe_db_engine_versions().engine("postgres").send().await.unwrap();
        let family = versions.db_engine_versions().last().unwrap().db_parameter_group_family().unwrap();
        let group = self.rds.create_db_parameter_group().db_parameter_group_name(name);
        group.db_parameter_group_family(family).description("x").send().await.unwrap();
    }

    async fn set_parameter(&self, group: &str, name: &str, value: &str, method: ApplyMethod) {
        let parameter = Parameter::builder().parameter_name(name).parameter_value(value).apply_method(method);
        let request = self.rds.modify_db_parameter_group().db_parameter_group_name(group);
        request.parameters(parameter.build()).send().await.unwrap();
    }

    async fn use_group(&self, id: &str, group: &str) {
        let request = self.rds.modify_db_instance().db_instance_identifier(id);
        request.db_parameter_group_name(group).send().await.unwrap();
    }

    async fn reboot(&self, id: &str) {
        self.rds.reboot_db_instance().db_instance_identifier(id).send().await.unwrap();
        self.until_status(id, "available").await;
    }

    async fn parameter_status(&self, id: &str) -> String {
        let answer = self.rds.describe_db_instances().db_instance_identifier(id).send().await.unwrap();
        answer.db_instances()[0].db_parameter_groups()[0].parameter_apply_status().unwrap().to_owned()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_master_user_creates_the_extensions_that_rds_has_and_replication_slots() {
    let world = World::new().await;
    world.parameter_group("logical").await;
    world.set_parameter("logical", "rds.logical_replication", "1", ApplyMethod::PendingReboot).await;
    world.create("orders").await;
    world.use_group("orders", "logical").await;
    world.reboot("orders").await;
    let sql = async |text: &str| world.sql("orders", "app", text).await;
    let listed = sql("show rds.extensions").await;
    for name in ["pg_stat_statements", "postgres_fdw", "dblink", "amcheck", "pg_buffercache", "pgstattuple"] {
        assert!(listed.split(", ").any(|one| one == name), "{name}: {listed}");
        sql(&format!("create extension {name}")).await;
    }
    assert_eq!(sql("select extname from pg_extension where extname = 'file_fdw'").await, "");
    assert!(!listed.contains("file_fdw"), "{listed}");
    sql("create table users (id int primary key); insert into users values (7)").await;
    assert_eq!(sql("select count(*) > 0 from pg_stat_statements").await, "t");
    sql("select bt_index_check('users_pkey')").await;
    let port = world.port_of("orders").await;
    let where_to =
        format!("host=localhost port={port} dbname=app user=owner password={PASSWORD} sslmode=require");
    assert_eq!(
        sql(&format!("select * from dblink('{where_to}', 'select id from users') as x(id int)")).await,
        "7"
    );
    sql(&format!(
        "create server other foreign data wrapper postgres_fdw options (host 'localhost', port '{port}', dbname 'app', sslmode 'require');
         create user mapping for current_user server other options (user 'owner', password '{PASSWORD}');
         create foreign table theirs (id int) server other options (table_name 'users')"
    ))
    .await;
    assert_eq!(sql("select id from theirs").await, "7");
    // Slots: of the master user, and of whoever is granted the role, in every database.
    sql("select pg_create_logical_replication_slot('changes', 'test_decoding')").await;
    sql("insert into users values (8)").await;
    assert_eq!(sql("select count(*) from pg_logical_slot_get_changes('changes', null, null) where data like '%id[integer]:8%'").await, "1");
    sql("select pg_drop_replication_slot('changes')").await;
    sql("create role reader login; create database fresh template template0").await;
    let may = async || {
        world
            .sql(
                "orders",
                "fresh",
                "select has_function_privilege('reader', 'pg_drop_replication_slot(name)', 'execute')",
            )
            .await
    };
    assert_eq!(may().await, "f");
    sql("grant rds_replication to reader").await;
    assert_eq!(may().await, "t");
    world.sql("orders", "fresh", "select pg_create_physical_replication_slot('standby'); select pg_drop_replication_slot('standby')").await;
    // A dump carries none of it.
    let url = world.url("orders", "app").await;
    let mut dump = Command::new("pg_dump");
    dump.arg(&url).env("PGPASSWORD", PASSWORD).env("PGSSLROOTCERT", world.stack.ca_path());
    let dump = dump.output().await.unwrap();
    let text = String::from_utf8(dump.stdout).unwrap();
    assert!(dump.status.success() && text.contains("CREATE EXTENSION IF NOT EXISTS dblink"), "{text}");
    assert!(!text.lines().any(|line| line.starts_with("GRANT") || line.starts_with("REVOKE")), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_of_another_group_wait_for_a_reboot_and_formulas_have_their_value() {
    let world = World::new().await;
    world.create("orders").await;
    let shown = async |name: &str| world.sql("orders", "app", &format!("show {name}")).await;
    let before = shown("work_mem").await;
    world.parameter_group("tuned").await;
    world.set_parameter("tuned", "work_mem", "8192", ApplyMethod::Immediate).await;
    let formula = "LEAST({DBInstanceClassMemory/134217728},5000)";
    world.set_parameter("tuned", "max_connections", formula, ApplyMethod::PendingReboot).await;
    world.use_group("orders", "tuned").await;
    assert_eq!(world.parameter_status("orders").await, "pending-reboot");
    // What is changed in the group from now on is applied, what was in it before is not.
    world.set_parameter("tuned", "statement_timeout", "77000", ApplyMethod::Immediate).await;
    wait("the change", async || shown("statement_timeout").await == "77s").await;
    assert_eq!(shown("work_mem").await, before);
    world.reboot("orders").await;
    assert_eq!(world.parameter_status("orders").await, "in-sync");
    // 8 GiB by 128 MiB.
    assert_eq!(
        (shown("work_mem").await, shown("max_connections").await),
        ("8MB".to_owned(), "64".to_owned())
    );
    let reset =
        world.rds.reset_db_parameter_group().db_parameter_group_name("tuned").reset_all_parameters(true);
    reset.send().await.unwrap();
    wait("the default", async || shown("statement_timeout").await == "0").await;
    assert_eq!((shown("work_mem").await, shown("max_connections").await), (before, "64".to_owned()));
    assert_eq!(world.parameter_status("orders").await, "pending-reboot");
}
