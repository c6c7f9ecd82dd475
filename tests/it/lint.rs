//! `deploy/`: every file passes the linter of its own field, and each linter refuses a broken file.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use crate::support::{program, root};

/// All files below a folder, by their path from there.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    fn walk(folder: &Path, base: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            match entry.is_dir() {
                true => walk(&entry, base, found),
                false => found.push(entry.strip_prefix(base).unwrap().to_owned()),
            }
        }
    }
    let mut found = Vec::new();
    walk(folder, folder, &mut found);
    found.sort();
    found
}

pub(crate) fn read(name: &str) -> String {
    fs::read_to_string(root().join("deploy").join(name)).unwrap()
}

/// YAML as JSON; CloudFormation's short forms are not read.
pub(crate) fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap()
}

/// The steps of a composite action that run something.
pub(crate) fn steps(action: &str) -> Vec<Value> {
    yaml(action)["runs"]["steps"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|step| step["run"].is_string())
        .cloned()
        .collect()
}

/// A copy of `deploy/` that may be broken.
pub(crate) struct Copy(pub(crate) tempfile::TempDir);

impl Copy {
    pub(crate) fn new() -> Copy {
        let copy = Copy(tempfile::tempdir().unwrap());
        for file in files(&root().join("deploy")) {
            let target = copy.0.path().join(&file);
            fs::create_dir_all(target.parent().unwrap()).unwrap();
            fs::copy(root().join("deploy").join(&file), target).unwrap();
        }
        copy
    }

    fn change(&self, file: &str, from: &str, to: &str) {
        let path = self.0.path().join(file);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{file} has no {from:?} to break");
        fs::write(path, text.replacen(from, to, 1)).unwrap();
    }

    /// Its files of a kind.
    pub(crate) fn of(&self, folder: &str, ending: &str) -> Vec<PathBuf> {
        let all = files(&self.0.path().join(folder));
        let found: Vec<PathBuf> = all
            .into_iter()
            .filter(|file| file.to_str().unwrap().ends_with(ending))
            .map(|file| self.0.path().join(folder).join(file))
            .collect();
        assert!(!found.is_empty(), "no {ending} in {folder}");
        found
    }

    /// Runs a program that `make setup` has installed, in here.
    pub(crate) fn run(&self, program: &str, arguments: &[&str], files: &[PathBuf]) -> Output {
        let installed = root().join("target/clients/bin").join(program);
        let program = if installed.exists() { installed } else { PathBuf::from(program) };
        let mut command = Command::new(&program);
        command.args(arguments).args(files).current_dir(self.0.path());
        let done = command.stdin(std::process::Stdio::null()).output();
        done.unwrap_or_else(|error| panic!("{} is installed by `make setup`: {error}", program.display()))
    }
}

/// A linter: what it says, and whether it is content.
type Lint = fn(&Copy) -> (bool, String);

pub(crate) fn told(outputs: impl IntoIterator<Item = Output>) -> (bool, String) {
    outputs.into_iter().fold((true, String::new()), |(well, said), output| {
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        (well && output.status.success(), said + &text)
    })
}

fn cfn_lint(copy: &Copy) -> (bool, String) {
    told([copy.run(
        "cfn-lint",
        &["--non-zero-exit-code", "informational", "--"],
        &copy.of("aws", ".cfn.yaml"),
    )])
}

fn actionlint(copy: &Copy) -> (bool, String) {
    told([copy.run(
        "actionlint",
        &["-no-color", "-config-file", "github-actions/actionlint.yaml"],
        &copy
            .of("github-actions", ".yml")
            .into_iter()
            .filter(|file| !file.ends_with("action.yml"))
            .collect::<Vec<_>>(),
    )])
}

fn zizmor(copy: &Copy) -> (bool, String) {
    told([copy.run("zizmor", &["--offline", "--no-progress"], &copy.of("github-actions", ".yml"))])
}

/// The schema of actions, and shellcheck for what they run.
fn action(copy: &Copy) -> (bool, String) {
    let schema = copy.run(
        "check-jsonschema",
        &["--builtin-schema", "vendor.github-actions", "github-actions/snapshot/action.yml"],
        &[],
    );
    let text = fs::read_to_string(copy.0.path().join("github-actions/snapshot/action.yml")).unwrap();
    let scripts = steps(&text).into_iter().enumerate().map(|(number, step)| {
        let file = copy.0.path().join(format!("step-{number}.sh"));
        fs::write(&file, step["run"].as_str().unwrap()).unwrap();
        copy.run("shellcheck", &["--shell", "bash", "--severity", "style"], &[file])
    });
    told([schema].into_iter().chain(scripts))
}

fn kubernetes(copy: &Copy) -> (bool, String) {
    let objects =
        copy.of("kubernetes", ".yaml").into_iter().filter(|file| !file.ends_with("kustomization.yaml"));
    told([copy.run("kubernetes-validate", &["--strict", "--quiet"], &objects.collect::<Vec<_>>())])
}

fn yamllint(copy: &Copy) -> (bool, String) {
    told([copy.run("yamllint", &["--strict", "-c", "yamllint.yaml", "-f", "parsable", "."], &[])])
}

fn hadolint(copy: &Copy) -> (bool, String) {
    told([copy.run("hadolint", &["docker/Dockerfile"], &[])])
}

fn shellcheck(copy: &Copy) -> (bool, String) {
    told([copy.run("shellcheck", &["--severity", "style"], &[copy.0.path().join("iam/create")])])
}

fn promtool(copy: &Copy) -> (bool, String) {
    let rules = copy.run("promtool", &["check", "rules", "prometheus/lifeboat.rules.yml"], &[]);
    let tests = copy.of("prometheus", ".test.yml");
    told([rules, copy.run("promtool", &["test", "rules"], &tests)])
}

/// What parliament may find: descriptions cannot be bounded; a restore is allowed in several statements, by kind of object; and it does
/// not know a key that is newer than it.
const FINDINGS: [(&str, &str); 10] = [
    ("alarms", "RESOURCE_STAR"),
    ("drill", "RESOURCE_MISMATCH"),
    ("drill", "RESOURCE_STAR"),
    ("drill", "UNKNOWN_CONDITION_FOR_ACTION rds:PubliclyAccessible"),
    ("read-only", "RESOURCE_STAR"),
    ("retention", "RESOURCE_STAR"),
    ("snapshot", "RESOURCE_MISMATCH"),
    ("snapshot", "RESOURCE_STAR"),
    ("status", "RESOURCE_STAR"),
    ("sweeper", "RESOURCE_STAR"),
];

fn parliament(copy: &Copy) -> (bool, String) {
    const SCRIPT: &str = "import re, sys, parliament\n\
        for path in sys.argv[1:]:\n  \
          for it in parliament.analyze_policy_string(open(path).read(), path).findings:\n    \
            key = re.search(r'condition (\\S+) for', str(it.detail))\n    \
            print(path.split('/')[-1].split('.')[0], it.issue + (' ' + key.group(1) if key else ''), it.detail, sep='\\t')\n";
    let policies =
        copy.of("iam", ".json").into_iter().filter(|file| !file.parent().unwrap().ends_with("trust"));
    let (ran, said) = told([copy.run("python3", &["-c", SCRIPT], &policies.collect::<Vec<_>>())]);
    let unexpected: Vec<&str> = said
        .lines()
        .filter(|line| {
            let mut parts = line.split('\t');
            let found = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
            !FINDINGS.contains(&found)
        })
        .collect();
    (ran && unexpected.is_empty(), unexpected.join("\n"))
}

/// The units name the binary where packages put it: here it is the one that was built.
fn systemd(copy: &Copy) -> (bool, String) {
    for unit in copy.of("systemd", ".service") {
        let text = fs::read_to_string(&unit).unwrap();
        fs::write(unit, text.replace("/usr/local/bin/lifeboat", program())).unwrap();
    }
    let units: Vec<PathBuf> = [copy.of("systemd", ".service"), copy.of("systemd", ".timer")].concat();
    let verified = copy.run("systemd-analyze", &["verify", "--man=no", "--recursive-errors=no"], &units);
    // It ends well on keys that it does not know, and says so.
    let (well, said) = told([verified]);
    let ours: String = said
        .lines()
        .filter(|line| line.contains(copy.0.path().to_str().unwrap()) || line.contains("lifeboat"))
        .collect();
    let calendars = copy.of("systemd", ".timer").into_iter().map(|timer| {
        let text = fs::read_to_string(timer).unwrap();
        let when = text.lines().find_map(|line| line.strip_prefix("OnCalendar=")).unwrap().to_owned();
        copy.run("systemd-analyze", &["calendar", &when], &[])
    });
    // As exposed as 3 of 10, at most.
    let confined =
        copy.of("systemd", ".service").into_iter().filter(|unit| !unit.ends_with("lifeboat-failed@.service"));
    let confined = confined
        .map(|unit| copy.run("systemd-analyze", &["security", "--offline=true", "--threshold=30"], &[unit]));
    let (right, more) = told(calendars.chain(confined));
    (well && ours.is_empty() && right, if right { ours } else { more })
}

const LINTERS: [(&str, Lint); 12] = [
    ("cfn-lint", cfn_lint),
    ("actionlint", actionlint),
    ("zizmor", zizmor),
    ("action", action),
    ("kubernetes-validate", kubernetes),
    ("yamllint", yamllint),
    ("hadolint", hadolint),
    ("shellcheck", shellcheck),
    ("promtool", promtool),
    ("parliament", parliament),
    ("systemd-analyze", systemd),
    ("jsonschema", iam_schema),
];

/// Trust policies too are policies: parsed, and without what a policy does not have.
fn iam_schema(copy: &Copy) -> (bool, String) {
    let schema = serde_json::json!({
        "type": "object", "additionalProperties": false, "required": ["Version", "Statement"],
        "properties": {
            "Version": {"const": "2012-10-17"},
            "Statement": {"type": "array", "minItems": 1, "items": {
                "type": "object", "additionalProperties": false, "required": ["Sid", "Effect"],
                "properties": {
                    "Sid": {"type": "string", "pattern": "^[A-Za-z0-9]+$"}, "Effect": {"enum": ["Allow", "Deny"]}, "Principal": {"type": "object"},
                    "Action": {}, "NotAction": {}, "Resource": {}, "NotResource": {}, "Condition": {"type": "object"}
                }
            }}
        }
    });
    let file = copy.0.path().join("policy.schema.json");
    fs::write(&file, schema.to_string()).unwrap();
    told([copy.run("check-jsonschema", &["--schemafile", file.to_str().unwrap()], &copy.of("iam", ".json"))])
}

#[test]
fn every_file_passes_the_linter_of_its_field() {
    let ended: Vec<(&str, bool, String)> = std::thread::scope(|scope| {
        let running: Vec<_> = LINTERS
            .iter()
            .map(|(name, lint)| {
                scope.spawn(move || {
                    let (well, said) = lint(&Copy::new());
                    (*name, well, said)
                })
            })
            .collect();
        running.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let unwell: Vec<_> = ended.iter().filter(|(_, well, _)| !well).collect();
    assert!(
        unwell.is_empty(),
        "{}",
        unwell.iter().map(|(name, _, said)| format!("{name}:\n{said}\n")).collect::<String>()
    );
}

#[test]
fn every_linter_refuses_a_broken_file() {
    // What is broken in which file, and what the linter says of it.
    let broken: [(&str, &str, &str, &str, &str); 13] = [
        (
            "cfn-lint",
            "aws/schedule.cfn.yaml",
            "MaximumRetryAttempts: 0",
            "MaximumRetries: 0",
            "MaximumRetries",
        ),
        ("cfn-lint", "aws/fleet.cfn.yaml", "\"Type\": \"Succeed\"", "\"Type\": \"Suceed\"", "Suceed"),
        ("actionlint", "github-actions/drill.yml", "inputs.database", "input.database", "input"),
        (
            "zizmor",
            "github-actions/drill.yml",
            "drill run \"$DATABASE\"",
            "drill run ${{ inputs.database }}",
            "template-injection",
        ),
        ("action", "github-actions/snapshot/action.yml", "using: composite", "using: compsite", "compsite"),
        (
            "kubernetes-validate",
            "kubernetes/sweep.yaml",
            "concurrencyPolicy",
            "concurencyPolicy",
            "concurencyPolicy",
        ),
        (
            "yamllint",
            "kubernetes/status.yaml",
            "kind: CronJob",
            "kind: CronJob\nkind: CronJob",
            "duplication",
        ),
        ("hadolint", "docker/Dockerfile", "FROM alpine:3.22.1", "FROM alpine", "DL3006"),
        ("shellcheck", "iam/create", "--role-name \"$name\"", "--role-name $name", "SC2086"),
        (
            "promtool",
            "prometheus/lifeboat.rules.yml",
            "lifeboat_last_drill_passed == 0",
            "lifeboat_last_drill_passed == 1",
            "FAILED",
        ),
        (
            "parliament",
            "iam/sweeper.json",
            "rds:ListTagsForResource",
            "rds:ListTagsOfResource",
            "UNKNOWN_ACTION",
        ),
        (
            "systemd-analyze",
            "systemd/lifeboat-sweep.service",
            "ProtectHome=true",
            "ProtectHomes=true",
            "ProtectHomes",
        ),
        ("jsonschema", "iam/trust/irsa.json", "\"Principal\"", "\"Principle\"", "Principle"),
    ];
    let linters: BTreeMap<&str, Lint> = LINTERS.into_iter().collect();
    let covered: BTreeSet<&str> = broken.iter().map(|(linter, ..)| *linter).collect();
    assert_eq!(covered, linters.keys().copied().collect(), "a linter that is not shown to refuse anything");
    std::thread::scope(|scope| {
        for (linter, file, from, to, word) in broken {
            let lint = linters[linter];
            scope.spawn(move || {
                let copy = Copy::new();
                copy.change(file, from, to);
                let (well, said) = lint(&copy);
                assert!(!well && said.contains(word), "{linter} says of {to:?} in {file}: {said}");
            });
        }
    });
}
