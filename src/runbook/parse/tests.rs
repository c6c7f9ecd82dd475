use super::*;
use crate::runbook::fault::Severity;

const FRONT: &str = "---\nrunbook: 1\ntitle: T\nowner: o\nreview_by: 2027-03-01\nrto: 60m\nparams:\n  source: {required: true, pattern: \"^[a-z]+$\"}\n---\n";

fn read(body: &str) -> Runbook {
    parse(Origin::File("x.md".into()), format!("{FRONT}{body}").as_bytes())
}

/// Malformed parts, as `line:column message`, lines counted from the first after the front matter.
fn malformed(body: &str) -> Vec<String> {
    let faults = read(body).faults;
    let faults = faults.iter().filter(|fault| fault.severity == Severity::Malformed);
    faults
        .map(|fault| format!("{}:{} {}", fault.at.line as i64 - 9, fault.at.column, fault.message))
        .collect()
}

#[test]
fn steps_stand_in_their_order_with_what_belongs_to_them() {
    let runbook = read(
        "# T\n\n## 1. Look `here`\n\n```sh\necho prose\n```\n\n```sh id=look sets=\"host port\"\nhost=$(echo x) port=1\n```\n\n```expect\nhost is not empty\n```\n\n\
         ```sh by-hand=look\necho\n```\n\n> ```confirm only=real\n> Type {{source}}\n> ```\n\n## 2) Do\n\n~~~sh id=do timeout=1m once creates=\"db:{{source}}\"\naws rds x\n~~~\n\n\
         ```probe for=do\ntrue\n```\n\n```undo for=do\ntrue\n```\n\n```wait for=do timeout=5m every=1s\ndb {{source}} status available\n```\n\n```json\n{}\n```\n",
    );
    assert!(runbook.faults.iter().all(|fault| fault.severity != Severity::Malformed), "{:?}", runbook.faults);
    let steps: Vec<(&str, &str, &str)> =
        runbook.steps.iter().map(|step| (step.id.as_str(), step.kind.role(), step.title.as_str())).collect();
    assert_eq!(
        steps,
        [
            ("look", "sh", "Look here"),
            ("confirm-1", "confirm", "Look here"),
            ("do", "sh", "Do"),
            ("wait-1", "wait", "Do")
        ]
    );
    assert_eq!(runbook.steps[0].expects.len(), 1);
    assert_eq!(runbook.steps[0].by_hand.len(), 1);
    assert!(runbook.steps[2].probe.is_some() && runbook.steps[2].undo.is_some());
    let Kind::Confirm { text, answer } = &runbook.steps[1].kind else { panic!() };
    assert_eq!((text.as_str(), answer.as_str()), ("Type {{source}}", "{{source}}"));
    assert_eq!(runbook.steps[1].only, Some(Mode::Real));
}

#[test]
fn what_cannot_be_run_is_named_with_line_and_column() {
    for (body, expected) in [
        ("```shh id=a\nx\n```\n", "1:4 unknown role `shh`"),
        ("```expct\nx\n```\n", "1:4 unknown role `expct`"),
        ("```bash id=a\nx\n```\n", "1:4 a block of language `bash` has an `id` but is not run"),
        ("```sh id=a tiemout=3m\nx\n```\n", "1:12 a block of role `sh` has no attribute `tiemout`"),
        ("```sh id=a timeout=soon\nx\n```\n", "1:12 `soon` is not a duration"),
        (
            "```sh id=a\nx\n```\n\n```sh id=a\ny\n```\n",
            "5:7 two steps have the id `a`: the other one is on line 10",
        ),
        ("```sh id=a\nx\n```\n```probe for=b\nx\n```\n", "4:4 there is no step `b`"),
        ("```expect\nstdout = 1\n```\n", "1:4 there is no step above this `expect` block"),
        ("```sh id=a\nx\n```\n```expect\n\n  foo => 1\n```\n", "6:3 `foo => 1` is not an expectation"),
        (
            "```sh id=a\nx\n```\n```expect\nsorce = 1\n```\n",
            "5:1 `sorce` is neither a parameter nor set by a step",
        ),
        ("```sh id=a\nx {{source}}\n```\n", "2:1 `{{source}}` is in text that is run"),
        (
            "```sh id=a creates=\"db:{{sorce}}\"\nx\n```\n",
            "1:4 `sorce` is neither a parameter nor set by a step",
        ),
        ("```sh id=a\nx\n", "1:1 this `sh` block is not closed"),
        ("```confirm\nSure?\n```\n", "1:4 the gate does not say what must be typed"),
        ("```wait timeout=1m\ntable x gone\n```\n", "2:1 `table x gone` cannot be waited for"),
        ("Words.\n", "-8:1 there is nothing to run: no block has an `id`"),
    ] {
        assert!(malformed(body).contains(&expected.to_owned()), "{body}: {:?}", malformed(body));
    }
}

#[test]
fn front_matter_is_read_strictly_and_its_faults_have_places() {
    let faults = |text: &str| {
        let runbook = parse(Origin::File("x.md".into()), text.as_bytes());
        runbook
            .faults
            .iter()
            .filter(|fault| fault.severity == Severity::Malformed)
            .map(|fault| (fault.at.line, fault.message.clone()))
            .collect::<Vec<_>>()
    };
    let step = "---\n```sh id=a\nls\n```\n";
    assert_eq!(faults("# no front matter\n")[0], (1, "there is no front matter".to_owned()));
    assert_eq!(faults(&format!("---\nrunbook: 1\ntitle: T\nrto: soon\n{step}"))[0].0, 4);
    assert_eq!(
        faults(&format!("---\nrunbook: 2\ntitle: T\n{step}"))[0],
        (2, "format version 2 is not supported".to_owned())
    );
    assert_eq!(
        faults(&format!("---\nrunbook: 1\ntitle: T\nreview_by: maerz\n{step}"))[0],
        (4, "`maerz` is not a date".to_owned())
    );
    assert!(faults(&format!("---\nrunbook: 1\ntitle: T\nownr: x\n{step}"))[0].1.contains("ownr"));
    assert!(
        faults(&format!("---\nrunbook: 1\ntitle: [T\n{step}"))[0].1.contains("the front matter is invalid")
    );
    let pattern = faults(&format!(
        "---\nrunbook: 1\ntitle: T\nparams:\n  a: {{required: true, pattern: \"(\"}}\n{step}"
    ));
    assert!(pattern[0].1.starts_with("the pattern of `a` is invalid"), "{pattern:?}");
    let twice = faults(&format!("---\nrunbook: 1\ntitle: T\ntitle: U\n{step}"));
    assert_eq!(twice[0].0, 4, "{twice:?}");
}

#[test]
fn a_file_that_is_not_utf_8_is_said_with_its_place() {
    let runbook = parse(Origin::File("x.md".into()), b"---\nrunbook: 1\nti\xff\xfe: x\n---\n");
    assert_eq!((runbook.faults[0].at.line, runbook.faults[0].at.column), (3, 3));
    assert_eq!(runbook.faults[0].message, "the file is not UTF-8 text");
}
