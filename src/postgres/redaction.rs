//! Text without the passwords that it may repeat. Runbooks, which know the values of their secrets, use `runbook::redact`.

/// `text` without what looks like a password: between the first colon and the `@` of something like a URL, and after
/// `password=`.
pub(crate) fn redact_urls(text: &str) -> String {
    let is_end = |c: char| c.is_whitespace() || "`'\"<>".contains(c);
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(is_end).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        shown.push_str(&redacted_word(word));
        let next = after.chars().next().map_or(0, char::len_utf8);
        shown.push_str(&after[..next]);
        rest = &after[next..];
    }
    shown
}

fn redacted_word(word: &str) -> String {
    let scheme = word.find("://").map_or(0, |at| at + 3);
    let login = word.rfind('@').filter(|at| *at >= scheme);
    let from_colon = login.and_then(|at| Some((word[scheme..at].find(':')? + scheme + 1, at)));
    let mut shown = match from_colon {
        Some((from, to)) => format!("{}…{}", &word[..from], &word[to..]),
        None => word.to_owned(),
    };
    for key in ["password=", "PASSWORD="] {
        if let Some(at) = shown.find(key).map(|at| at + key.len()) {
            let end = shown[at..].find(['&', ';']).map_or(shown.len(), |end| at + end);
            shown.replace_range(at..end, "…");
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_in_misplaced_urls_are_not_repeated() {
        for (text, shown) in [
            ("no `postgresql://u:hunter2@h/d` here", "no `postgresql://u:…@h/d` here"),
            ("u:hunter2@h/d", "u:…@h/d"),
            ("postgresql:/u:hunter2@h/d", "postgresql:…@h/d"),
            ("host=h password=hunter2 x", "host=h password=… x"),
            ("?password=hunter2&x=1", "?password=…&x=1"),
            ("me@example.com at 10:30", "me@example.com at 10:30"),
        ] {
            assert_eq!(redact_urls(text), shown);
        }
    }
}
