use chrono::TimeDelta;

use super::samples::{failed_report, passed_report, unknown_report};
use super::*;

fn page(report: &Report) -> String {
    render_evidence(report, b"{}\n")
}

/// With `LIFEBOAT_PAGES` set, the pages are written to the temporary directory.
#[test]
fn every_page_stands_alone_and_runs_nothing() {
    for (sample, report) in
        [("pass", passed_report()), ("fail", failed_report()), ("unknown", unknown_report())]
    {
        let page = page(&report);
        if std::env::var_os("LIFEBOAT_PAGES").is_some() {
            std::fs::write(std::env::temp_dir().join(format!("lifeboat-page-{sample}.html")), &page).unwrap();
        }
        assert!(page.starts_with("<!DOCTYPE html><html lang=\"en\">"), "{sample}");
        assert!(page.contains("Content-Security-Policy\" content=\"default-src 'none';"), "{sample}");
        for never in [
            "<script",
            "<img",
            "<iframe",
            "<link",
            "<form",
            "src=",
            "http://",
            "https://",
            "url(",
            "@import",
            "javascript:",
        ] {
            // Hostile names may say these things, but only as text.
            let in_markup = page.split('>').filter(|piece| {
                piece.split_once('<').is_some_and(|(_, tag)| format!("<{tag}").contains(never))
            });
            assert_eq!(in_markup.count(), 0, "{sample}: {never}");
        }
        let (style, _) = page.split_once("</style>").unwrap();
        assert!(!style.contains("url(") && !style.contains("@import"), "{sample}");
        assert_eq!(page.matches("</style>").count(), 1, "{sample}");
    }
}

#[test]
fn the_verdict_is_a_word_a_symbol_and_a_sentence() {
    for (report, class, word, meaning) in [
        (
            passed_report(),
            "good",
            "PASS",
            "The backup works. Restored to an instance of its own, it contained what was expected: 11 tables compared, 2 checks passed.",
        ),
        (
            failed_report(),
            "bad",
            "FAIL",
            "The backup falls short: 9 of 151 tables do not contain what is expected, 1 of 4 checks failed and restoring took longer than the objective allows.",
        ),
        (
            unknown_report(),
            "doubt",
            "UNKNOWN (interrupted)",
            "The drill was interrupted (SIGINT) before it had a verdict. It proves nothing about the backup, good or bad.",
        ),
    ] {
        let page = page(&report);
        let symbol = format!(
            "<svg class=\"mark\" viewBox=\"0 0 16 16\" aria-hidden=\"true\"><use href=\"#{class}\"></use></svg>"
        );
        assert!(page.contains(&format!("<p class=\"word\">{symbol}{word}</p>")), "{word}");
        assert!(page.contains(&format!(
            "<title>{word}: restore drill of orders-production, 20261121-140500-k3x9qa</title>"
        )));
        assert!(page.contains(meaning), "{word}");
    }
}

#[test]
fn names_are_shown_as_they_are_and_never_become_markup() {
    let page = page(&failed_report());
    assert!(page.contains("<bdi class=\"name\">&lt;script&gt;alert(1)&lt;/script&gt;</bdi>"));
    assert!(page.contains("&quot;&gt;&lt;img src=x onerror=alert(1)&gt;"));
    assert!(page.contains("<bdi class=\"name\">טבלת_הזמנות</bdi>.<wbr>"), "right to left, isolated");
    assert!(page.contains("🚣\u{200d}♀\u{fe0f} lifeboats &amp; more"), "joiners stay");
    assert!(
        page.contains("invoice\\u{202e}gpj.exe") && !page.contains('\u{202e}'),
        "an override is spelled out"
    );
    assert!(page.contains("two\\nlines"));
    assert!(page.contains("&lt;/code&gt;&lt;script&gt;"), "answers are text too");
    assert!(!page.contains("<b>bold") && !page.contains("<i>"));
}

#[test]
fn the_page_carries_the_hash_of_the_evidence_and_where_it_is() {
    let page = page(&passed_report());
    assert!(
        page.contains("ca3d163bab055381827226140568f3bef7eaac187cebd76878e0b63e9e442356"),
        "sha256 of `{{}}` and a line end"
    );
    assert!(
        page.contains(
            "/var/lib/lifeboat/backups/drills/orders-production/20261121-140500-k3x9qa/evidence.json"
        )
    );
    assert!(page.contains("Signature"));
}

#[test]
fn what_needs_a_look_comes_first_and_the_rest_is_folded() {
    let page = page(&failed_report());
    let shop = page.split("<h3>Database").nth(2).unwrap();
    let (shown, folded) = shop.split_once("<details>").unwrap();
    let place = |text: &str| shown.find(text).unwrap();
    assert!(place(">ledger<") < place(">audit<"), "missing before unknown");
    assert!(shown.contains("18,446,744,073,709,551,615"));
    assert!(
        folded.starts_with("<summary>140 tables: 1 unexpected, 1 skipped, 121 within, 17 equal</summary>")
    );
    assert!(!shown.contains("events_000") && folded.contains("events_119"));
    assert!(page.contains("<summary>and 7 more</summary>"), "reasons are folded too");
}

#[test]
fn objectives_say_whether_they_were_met() {
    let said = |report: &Report| {
        let page = page(report);
        ["</svg>met<", "</svg>missed<", "</svg>not measured<", "</svg>not judged<"]
            .map(|word| page.matches(word).count())
    };
    assert_eq!(said(&passed_report()), [2, 0, 0, 0]);
    assert_eq!(said(&failed_report()), [1, 1, 0, 0]);
    assert_eq!(said(&unknown_report()), [0, 0, 2, 0]);
    let mut by_hand = passed_report();
    by_hand.rpo.verdict = ObjectiveVerdict::NotJudged;
    assert_eq!(said(&by_hand), [1, 0, 0, 1]);
    assert!(page(&passed_report()).contains("Available after 10m 43s, validated after 13m 30s."));
}

#[test]
fn the_share_of_an_objective_never_hides_a_miss() {
    let said = [(1.0, 3600.0), (3600.0, 3600.0), (3600.1, 3600.0), (86_400.0, 600.0), (1.0, 0.0)]
        .map(|(used, of)| format_share(used, of));
    assert_eq!(
        said,
        [
            "Less than 1 % of the objective was used.",
            "100 % of the objective was used.",
            "101 % of the objective.",
            "144 times the objective.",
            "The objective leaves no time at all.",
        ]
    );
}

#[test]
fn an_instance_that_still_costs_money_is_said_at_the_top() {
    let head = |report: &Report| page(report).split("</header>").next().unwrap().to_owned();
    assert!(head(&unknown_report()).contains("An instance was left behind and costs money"));
    assert!(!head(&passed_report()).contains("costs money"));
    let mut kept = passed_report();
    kept.throwaway.kept = true;
    kept.throwaway.removed_at = None;
    assert!(head(&kept).contains("An instance was kept, as requested"));
    let removed = page(&passed_report());
    assert!(
        removed.contains("2026-11-21T14:31:41Z</time> <small>by then AWS had no instance"),
        "the proof of deletion"
    );
}

#[test]
fn phases_stay_inside_their_picture_whatever_the_clocks_say() {
    let mut report = passed_report();
    report.phases[0].started_at = report.started_at - TimeDelta::seconds(5);
    report.phases[6].seconds = 90_000.0;
    for lengths in page(&report).split("style=\"--at:").skip(1) {
        let (at, rest) = lengths.split_once("%;--for:").unwrap();
        let (at, length) =
            (at.parse::<f64>().unwrap(), rest.split('%').next().unwrap().parse::<f64>().unwrap());
        assert!(at >= 0.0 && at + length <= 100.01, "{at} {length}");
    }
}

#[test]
fn text_without_end_is_cut() {
    let mut report = passed_report();
    report.checks[0].observed = Some("x".repeat(5_000_000));
    assert!(page(&report).len() < 100_000);
}
