//! The tool about itself: manual pages, completions, the book and CHANGELOG.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Stdio;

use crate::support::{binary, finish, root};

fn read(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap()
}

/// All commands, such as `drill run`, by their manual pages.
async fn commands(directory: &Path) -> BTreeSet<String> {
    let run = finish(binary(directory, &["man", "--out", "."]).spawn().unwrap()).await;
    run.assert_code(0);
    let files =
        std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    files.map(|file| file.trim_end_matches(".1").replacen("lifeboat", "", 1).replacen('-', "", 1)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn there_is_a_manual_page_for_every_command() {
    let directory = tempfile::tempdir().unwrap();
    let pages = commands(directory.path()).await;
    for page in ["", "drill", "drill-run", "snapshot-create", "serve-token-add", "alarms-test", "man"] {
        assert!(pages.contains(page), "no page for {page:?}: {pages:?}");
    }
    assert!(!pages.iter().any(|page| page.contains("help")), "{pages:?}");
    let page = std::fs::read_to_string(directory.path().join("lifeboat-drill-run.1")).unwrap();
    assert!(page.contains(".TH lifeboat-drill-run 1") && page.contains("rto"), "{page}");
    let shown = finish(binary(directory.path(), &["man"]).spawn().unwrap()).await;
    assert!(shown.assert_code(0).stdout.contains(".SH NAME\nlifeboat"), "{}", shown.stdout);
    let made = finish(binary(directory.path(), &["man", "--out", "made/for/it"]).spawn().unwrap()).await;
    assert!(made.assert_code(0).stdout.contains("pages written to `made/for/it`"), "{}", made.stdout);
    assert!(directory.path().join("made/for/it/lifeboat.1").exists());
    let nowhere =
        finish(binary(directory.path(), &["man", "--out", "lifeboat-drill.1/x"]).spawn().unwrap()).await;
    nowhere.assert_code(2).assert_says(&["cannot make directory `lifeboat-drill.1/x`", "hint"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn completions_complete() {
    let directory = tempfile::tempdir().unwrap();
    // A broken configuration is no reason not to.
    std::fs::write(directory.path().join("lifeboat.toml"), "nonsense").unwrap();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let run = finish(binary(directory.path(), &["completions", shell]).spawn().unwrap()).await;
        assert!(run.assert_code(0).stdout.contains("sweep"), "{shell}");
        if shell == "bash" {
            std::fs::write(directory.path().join("lifeboat.bash"), run.stdout).unwrap();
        }
    }
    let script = "source ./lifeboat.bash; COMP_WORDS=(lifeboat drill s); COMP_CWORD=2; _lifeboat lifeboat s drill; echo \"${COMPREPLY[*]}\"";
    let bash = tokio::process::Command::new("bash")
        .args(["-c", script])
        .current_dir(directory.path())
        .stderr(Stdio::null())
        .output();
    assert_eq!(String::from_utf8(bash.await.unwrap().stdout).unwrap().trim(), "show sweep");
    let json = finish(binary(directory.path(), &["completions", "fish", "--json"]).spawn().unwrap()).await;
    assert_eq!(json.assert_code(0).json()["schema"], "lifeboat.completions/1");
    finish(binary(directory.path(), &["completions", "tcsh"]).spawn().unwrap()).await.assert_code(2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reference_has_every_command() {
    let directory = tempfile::tempdir().unwrap();
    let (reference, commands) = (read("docs/reference.md"), commands(directory.path()).await);
    let is_parent = |name: &str| commands.iter().any(|other| other.starts_with(&format!("{name}-")));
    let missing: Vec<String> = commands
        .iter()
        .filter(|name| !name.is_empty() && !is_parent(name))
        .map(|name| name.replace('-', " "))
        .filter(|words| !reference.replace('-', " ").contains(words.as_str()))
        .collect();
    assert!(missing.is_empty(), "the reference does not name {missing:?}");
}

#[test]
fn the_pictures_are_small_self_contained_and_shown() {
    let pages = read("README.md") + &read("docs/introduction.md") + &read("docs/guides/dashboard.md");
    for name in ["drill.svg", "dashboard.svg"] {
        let picture = read(&format!("docs/{name}"));
        assert!(picture.contains("<svg") && picture.len() < 200_000, "docs/{name}: {} bytes", picture.len());
        assert!(pages.contains(&format!("{name})")), "no page shows docs/{name}");
        // Nothing of the machine that drew it, nothing from the network, no script, no secret.
        for word in ["/tmp/", "/root/", "/home/", "canary", "<script", "href=\"http", "@import", "url(http"] {
            assert!(!picture.contains(word), "docs/{name} contains {word}");
        }
    }
}

#[test]
fn the_changelog_knows_this_version_or_what_is_not_released() {
    let changelog = read("CHANGELOG.md");
    let heading = format!("## [{}]", env!("CARGO_PKG_VERSION"));
    assert!(changelog.contains("## [Unreleased]") || changelog.contains(&heading));
    let kinds = ["### Added", "### Changed", "### Deprecated", "### Removed", "### Fixed", "### Security"];
    assert!(changelog.lines().filter(|line| line.starts_with("### ")).all(|line| kinds.contains(&line)));
}
