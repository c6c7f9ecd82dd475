//! `--help` of every command, completions and manual pages.

use super::{Scene, assert_golden};

/// The subcommands that a help lists.
fn subcommands(help: &str) -> Vec<String> {
    let list =
        help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let names = list.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    names
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .map(str::to_owned)
        .collect()
}

/// The help of a command and of all below it.
fn write_help<'a>(
    scene: &'a Scene<'_>,
    command: String,
) -> std::pin::Pin<Box<dyn Future<Output = String> + 'a>> {
    Box::pin(async move {
        let line = format!("{command} --help");
        let help = scene.run(line.trim()).await.assert_code(0).stdout.clone();
        let below = subcommands(&help);
        let below = below.iter().map(|name| write_help(scene, format!("{command} {name}").trim().to_owned()));
        let below = futures::future::join_all(below).await;
        // The global options stand in the help of the root.
        let own = help.split("\nGlobal options:").next().unwrap_or_default();
        format!("$ lifeboat {}\n{own}\n{}", line.trim(), below.concat())
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn help_of_every_command() {
    let directory = tempfile::tempdir().unwrap();
    let scene = Scene::in_directory(&directory);
    let root = scene.run("--help").await.assert_code(0).stdout.clone();
    for noun in subcommands(&root) {
        assert_golden(&format!("help-{noun}"), &write_help(&scene, noun).await);
    }
    let short = scene.run("-h").await.assert_code(0).stdout.clone();
    assert_golden("help", &format!("$ lifeboat --help\n{root}\n$ lifeboat -h\n{short}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn completions_and_manual_pages_begin() {
    let directory = tempfile::tempdir().unwrap();
    let scene = Scene::in_directory(&directory);
    let mut text = String::new();
    for line in ["completions bash", "completions zsh", "completions fish", "man"] {
        let printed = scene.run(line).await.assert_code(0).stdout.clone();
        let head: Vec<&str> = printed.lines().take(40).collect();
        text.push_str(&format!("$ lifeboat {line} | head -40\n{}\n\n", head.join("\n")));
    }
    let out = scene.run("man --out pages").await.assert_code(0).stdout.clone();
    text.push_str(&format!("$ lifeboat man --out pages\n{out}"));
    assert_golden("completions-and-man", &text);
}
