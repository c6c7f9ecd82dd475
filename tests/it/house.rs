//! The house is as it is drawn: modules use only what stands below them, and every test file is built.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::imports::{circles, used_files};
use crate::support::root;

/// The packages that are houses: the tool, and the local stack.
const PACKAGES: [&str; 2] = ["src", "localstack/src"];

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            files.extend(rust_files(&entry));
        } else if entry.extension().is_some_and(|extension| extension == "rs") {
            files.push(entry);
        }
    }
    files
}

/// The modules of a package's `lib.rs`, top to ground.
fn modules(src: &str) -> Vec<String> {
    let lib = fs::read_to_string(root().join(src).join("lib.rs")).unwrap();
    lib.lines().filter_map(|line| line.split_once("mod ")?.1.strip_suffix(';')).map(str::to_owned).collect()
}

#[test]
fn a_module_uses_only_what_stands_below_it() {
    for src in PACKAGES {
        assert_order(src);
    }
}

fn assert_order(src: &str) {
    let modules = modules(src);
    let floor: BTreeMap<&str, usize> =
        modules.iter().enumerate().map(|(floor, name)| (name.as_str(), floor)).collect();
    let src = root().join(src);
    let mut wrong = Vec::new();
    for file in rust_files(&src) {
        let relative = file.strip_prefix(&src).unwrap();
        let owner =
            relative.components().next().unwrap().as_os_str().to_str().unwrap().trim_end_matches(".rs");
        let Some(own_floor) = floor.get(owner) else { continue };
        let text = fs::read_to_string(&file).unwrap();
        for used in text.split("crate::").skip(1) {
            let used: String = used.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            if floor.get(used.as_str()).is_some_and(|used_floor| used_floor < own_floor) {
                wrong.push(format!("{} uses `{used}`, which stands above it", relative.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Files that use each other in a circle cannot be read one after the other.
#[test]
fn no_files_form_a_circle() {
    for src in ["src", "localstack/src", "tests/it"] {
        let graph = used_files(&root().join(src));
        assert!(graph.len() > 50, "{src}: {}", graph.len());
        let ties: Vec<String> = circles(&graph)
            .iter()
            .flat_map(|circle| {
                let ties = circle.iter().flat_map(|file| {
                    let inside = graph[file].intersection(circle);
                    inside.map(|used| format!("{} uses {}", file.display(), used.display()))
                });
                [format!("a circle of {} files in {src}:", circle.len())]
                    .into_iter()
                    .chain(ties)
                    .collect::<Vec<_>>()
            })
            .collect();
        assert!(ties.is_empty(), "{ties:#?}");
    }
}

#[test]
fn the_picture_in_lib_rs_lists_the_modules_in_their_order() {
    for src in PACKAGES {
        assert_picture(src);
    }
}

fn assert_picture(src: &str) {
    let lib = fs::read_to_string(root().join(src).join("lib.rs")).unwrap();
    let drawn: Vec<String> = lib
        .split("```text")
        .nth(1)
        .unwrap()
        .split("```")
        .next()
        .unwrap()
        .lines()
        .filter_map(|line| Some(line.strip_prefix("//! ")?.split_whitespace().next()?.to_owned()))
        .collect();
    assert_eq!(drawn, modules(src));
}

#[test]
fn the_local_stack_shares_no_code_with_the_tool() {
    let manifest = fs::read_to_string(root().join("localstack/Cargo.toml")).unwrap();
    assert!(
        !manifest.contains("lifeboat =") && !manifest.contains("path ="),
        "localstack depends on the tool"
    );
    for file in rust_files(&root().join("localstack/src")) {
        let text = fs::read_to_string(&file).unwrap();
        assert!(!text.contains("lifeboat::"), "{} uses the tool", file.display());
    }
}

#[test]
fn every_test_file_is_built() {
    let (folder, built) = (root().join("tests/it"), used_files(&root().join("tests/it")));
    for file in rust_files(&folder) {
        let name = file.strip_prefix(&folder).unwrap();
        assert!(built.contains_key(name), "no `mod` names tests/it/{}", name.display());
    }
}
