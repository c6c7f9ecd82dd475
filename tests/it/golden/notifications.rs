//! Notifications: what a channel is told, and what is said of channels.

use super::Scene;
use crate::notify::Hook;
use crate::support::World;
use crate::watch::topic;

#[tokio::test(flavor = "multi_thread")]
async fn channels_are_tested_listed_and_told() {
    let world = World::new().await;
    let hook = Hook::listen().await;
    let topic = topic(&world, "pager").await;
    world.write("hook.url", &hook.url("hook"));
    let channels = format!(
        "[notify.channels.oncall]\nkind = \"sns\"\ntopic = \"{topic}\"\n\
         [notify.channels.hook]\nkind = \"webhook\"\nurl_file = \"hook.url\"\n\
         [notify.channels.chat]\nkind = \"slack\"\nurl_env = \"SLACK_URL\"\n"
    );
    world.write("lifeboat.toml", &channels);
    let slack = format!("SLACK_URL={}", hook.url("slack"));
    let mut scene = Scene::of_world(&world);
    scene.pipe("notify list").await;
    scene.terminal("notify test hook").await;
    scene.terminal("notify test").await;
    scene.pipe(&format!("{slack} notify test --json")).await;
    scene.pipe(&format!("{slack} drill run no-such-database")).await;
    scene.report("notify list").await;
    scene.terminal(&format!("{slack} notify digest")).await;
    scene.pipe("notify test nobody").await;
    for body in hook.bodies() {
        scene.text.push_str(&format!("> {body}\n"));
    }
    scene.assert_golden("notify");
}
