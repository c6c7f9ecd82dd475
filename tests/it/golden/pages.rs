//! Pages as text: a block a line, and the attributes that carry words.

use regex_lite::Regex;

/// Elements that begin a line.
const BLOCKS: &str = "html head title meta link body main header footer section article nav aside div p h1 h2 h3 h4 h5 h6 ul ol li dl dt dd \
                      table caption thead tbody tr figure figcaption form button label input select option details summary pre br hr \
                      svg text";
const ATTRIBUTES: [&str; 8] =
    ["href", "title", "alt", "aria-label", "placeholder", "action", "name", "value"];

/// What a page says to those who read it.
pub(super) fn text_of(page: &str) -> String {
    let unread =
        Regex::new(r"(?s)<!--.*?-->|<style\b.*?</style>|<script\b.*?</script>|<symbol\b.*?</symbol>")
            .unwrap();
    let attribute = Regex::new(r#"([a-z-]+)="([^"]*)""#).unwrap();
    let page = unread.replace_all(page, "");
    let mut text = String::new();
    let mut rest = page.as_ref();
    while let Some((before, after)) = rest.split_once('<') {
        text.push_str(&before.replace('\n', " "));
        let Some((tag, after)) = after.split_once('>') else { break };
        let name = tag.trim_start_matches('/').split([' ', '/']).next().unwrap_or_default();
        text.push_str(match name {
            "td" | "th" if !tag.starts_with('/') => " | ",
            name if BLOCKS.split_whitespace().any(|block| block == name) => "\n",
            _ => " ",
        });
        for found in attribute.captures_iter(tag).filter(|found| ATTRIBUTES.contains(&&found[1])) {
            text.push_str(&format!("[{}: {}] ", &found[1], &found[2]));
        }
        rest = after;
    }
    for (escaped, plain) in [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&amp;", "&")] {
        text = text.replace(escaped, plain);
    }
    let lines = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    let lines = lines.map(|line| {
        [",", ".", ":", ";", ")"].iter().fold(line, |line, mark| line.replace(&format!(" {mark}"), mark))
    });
    lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n") + "\n"
}
