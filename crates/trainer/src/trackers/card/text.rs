//! Texts of others in YAML, Markdown and code: whatever they hold, they stay what they are.

/// Characters that mean something in a line of Markdown, or of a table in it.
const MEANINGFUL: &str = r"\`*_{}[]()#!|~$";

/// A string of YAML, in quotes.
pub(super) fn yaml(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            // What ends lines, or may not stand in a file.
            '\0'..='\x1f' | '\x7f'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}' => {
                quoted.push_str(&format!("\\u{:04x}", u32::from(character)));
            }
            _ => quoted.push(character),
        }
    }
    quoted + "\""
}

/// Plain text in a line of Markdown, or a cell of a table.
pub(super) fn plain(text: &str) -> String {
    let mut escaped = String::new();
    for character in one_line(text).chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            _ if MEANINGFUL.contains(character) => escaped.extend(['\\', character]),
            _ => escaped.push(character),
        }
    }
    // An address would become a link.
    escaped.replace("://", ":&#47;/")
}

/// Code in a line of Markdown, or a cell of a table.
pub(super) fn code(text: &str) -> String {
    let text = one_line(text);
    let ticks = "`".repeat(longest_run(&text, '`') + 1);
    // Ticks at an end would join the fence; blanks on both sides belong to it.
    let blank = if text.starts_with(['`', ' ']) || text.ends_with(['`', ' ']) || text.is_empty() { " " } else { "" };
    format!("{ticks}{blank}{}{blank}{ticks}", text.replace('|', r"\|"))
}

/// A block of code.
pub(super) fn block(language: &str, text: &str) -> String {
    let fence = "`".repeat((longest_run(text, '`') + 1).max(3));
    format!("{fence}{language}\n{}\n{fence}\n", text.trim_end())
}

fn longest_run(text: &str, wanted: char) -> usize {
    let step = |(longest, run): (usize, usize), character| {
        let run = if character == wanted { run + 1 } else { 0 };
        (longest.max(run), run)
    };
    text.chars().fold((0, 0), step).0
}

/// White space becomes single blanks, what cannot be seen is left out.
fn one_line(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").chars().filter(|character| !character.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_stay_what_they_are() {
        assert_eq!(yaml("a: \"b\" \\ \n- c\u{85}\u{2028}ä"), r#""a: \"b\" \\ \u000a- c\u0085\u2028ä""#);
        let text = "<img src=x>\n# a | b `c` [d](http://e) &amp; *f* $g$";
        let expected = r"&lt;img src=x&gt; \# a \| b \`c\` \[d\]\(http:&#47;/e\) &amp;amp; \*f\* \$g\$";
        assert_eq!(plain(text), expected);
        assert_eq!([code("a|b"), code("`"), code("a``b")], [r"`a\|b`", "`` ` ``", "```a``b```"]);
        assert_eq!(block("sh", "echo '\n```\n'\n"), "````sh\necho '\n```\n'\n````\n");
    }
}
