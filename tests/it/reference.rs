//! The tool about itself: manual pages, completions, the book and CHANGELOG.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
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
async fn the_pages_of_commands_are_those_of_the_binary() {
    let directory = tempfile::tempdir().unwrap();
    let made =
        finish(binary(directory.path(), &["man", "--out", ".", "--format", "markdown"]).spawn().unwrap())
            .await;
    made.assert_code(0);
    let pages_in = |folder: &Path| -> BTreeSet<String> {
        let pages = std::fs::read_dir(folder).unwrap();
        pages.map(|page| page.unwrap().file_name().into_string().unwrap()).collect()
    };
    let folder = root().join("docs/reference/commands");
    assert_eq!(pages_in(directory.path()), pages_in(&folder));
    for page in pages_in(&folder) {
        let [generated, kept] =
            [directory.path(), folder.as_path()].map(|at| std::fs::read_to_string(at.join(&page)).unwrap());
        assert_eq!(
            generated, kept,
            "{page}: run `lifeboat man --out docs/reference/commands --format markdown`, and read the difference"
        );
    }
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

/// README and all pages of the book.
fn pages() -> Vec<PathBuf> {
    let book = crate::readme::pages().into_iter().map(|page| root().join("docs").join(page));
    std::iter::once(root().join("README.md")).chain(book).collect()
}

/// The lines of a page that stand in no block of code.
fn prose(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap();
    let mut fence: Option<&str> = None;
    let mut lines = Vec::new();
    for line in text.lines() {
        let ticks = &line[..line.chars().take_while(|letter| *letter == '`').count()];
        match fence {
            Some(open) if line == open => fence = None,
            None if ticks.len() >= 3 => fence = Some(ticks),
            None => lines.push(line.to_owned()),
            Some(_) => {}
        }
    }
    lines
}

/// What the headings of a page are called in links.
fn anchors(path: &Path) -> BTreeSet<String> {
    let headings = prose(path).into_iter().filter(|line| line.starts_with('#'));
    let letters = |heading: String| {
        let text = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = text.chars().filter(|letter| letter.is_alphanumeric() || " -_".contains(*letter));
        kept.map(|letter| if letter == ' ' { '-' } else { letter }).collect()
    };
    headings.map(letters).collect()
}

#[test]
fn every_link_of_the_book_leads_somewhere_and_every_page_is_in_the_summary() {
    let docs = root().join("docs");
    let summary = read("docs/SUMMARY.md");
    let (mut broken, mut links) = (Vec::new(), 0);
    for page in pages() {
        if let Ok(name) = page.strip_prefix(&docs).map(|name| name.display().to_string())
            && name != "SUMMARY.md"
        {
            assert!(summary.contains(&format!("]({name})")), "{name} is not in SUMMARY.md");
        }
        for target in prose(&page).iter().flat_map(|line| line.split("](").skip(1)) {
            let target = target.split(')').next().unwrap();
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            if target.contains("://") {
                continue;
            }
            links += 1;
            let path = if file.is_empty() { page.clone() } else { page.parent().unwrap().join(file) };
            let is_whole = path.exists() && (anchor.is_empty() || anchors(&path).contains(anchor));
            if !is_whole {
                broken.push(format!("{}: {target}", page.display()));
            }
        }
    }
    assert!(links > 100 && broken.is_empty(), "{links} links: {broken:#?}");
}

#[test]
fn readme_is_a_page_and_no_book() {
    let readme = read("README.md");
    let (lines, words) = (readme.lines().count(), readme.split_whitespace().count());
    assert!(lines <= 150 && words <= 900, "{lines} lines, {words} words");
}

#[test]
fn the_changelog_knows_this_version_or_what_is_not_released() {
    let changelog = read("CHANGELOG.md");
    let heading = format!("## [{}]", env!("CARGO_PKG_VERSION"));
    assert!(changelog.contains("## [Unreleased]") || changelog.contains(&heading));
    let kinds = ["### Added", "### Changed", "### Deprecated", "### Removed", "### Fixed", "### Security"];
    assert!(changelog.lines().filter(|line| line.starts_with("### ")).all(|line| kinds.contains(&line)));
}

/// A promise names the tests that attack it; one that was renamed or removed attacks nothing.
#[test]
fn every_test_that_the_promises_name_exists() {
    let mut named = 0;
    for line in read("docs/how/promises.md").lines().filter(|line| line.starts_with("| ")) {
        let mut file = None;
        for word in line.split('`').skip(1).step_by(2) {
            if word.ends_with(".rs") {
                let path =
                    if word.contains('/') { root().join(word) } else { root().join("tests/it").join(word) };
                file = Some(std::fs::read_to_string(&path).unwrap_or_else(|_| panic!("there is no {word}")));
            } else if word.contains('_')
                && let Some(file) = &file
            {
                named += 1;
                assert!(file.contains(&format!("fn {word}(")), "no test `{word}`: {line}");
            }
        }
    }
    assert!(named > 40, "{named} tests");
}
