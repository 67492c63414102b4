//! Text of others (addresses, paths, names) in HTML, JSON and labels of metrics.

use std::fmt::{self, Display, Write};

/// In HTML, in a text or in a quoted attribute.
pub(crate) struct Html<T>(pub(crate) T);

/// In a JSON string, without its quotes. `<` and `>` are escaped too, so that it may stand in a page.
pub(crate) struct Json<T>(pub(crate) T);

/// Without control characters, which would be the terminal's: each is U+FFFD.
pub(crate) struct Plain<T>(pub(crate) T);

/// In the value of a label (`escaped-string` of the specification), without its quotes.
pub(crate) struct Label<T>(pub(crate) T);

struct Escaping<'a, 'b, F>(&'a mut fmt::Formatter<'b>, F);

impl<F: Fn(&mut fmt::Formatter<'_>, char) -> fmt::Result> Write for Escaping<'_, '_, F> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.chars().try_for_each(|c| (self.1)(self.0, c))
    }
}

impl<T: Display> Display for Html<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let escape = |f: &mut fmt::Formatter<'_>, c| match c {
            '&' => f.write_str("&amp;"),
            '<' => f.write_str("&lt;"),
            '>' => f.write_str("&gt;"),
            '"' => f.write_str("&quot;"),
            '\'' => f.write_str("&#39;"),
            c => f.write_char(c),
        };
        write!(Escaping(f, escape), "{}", self.0)
    }
}

impl<T: Display> Display for Json<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let escape = |f: &mut fmt::Formatter<'_>, c: char| match c {
            '"' | '\\' => write!(f, "\\{c}"),
            c if c.is_control() || "<>&\u{2028}\u{2029}".contains(c) => {
                write!(f, "\\u{:04x}", u32::from(c))
            }
            c => f.write_char(c),
        };
        write!(Escaping(f, escape), "{}", self.0)
    }
}

impl<T: Display> Display for Plain<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let escape = |f: &mut fmt::Formatter<'_>, c: char| {
            f.write_char(if c.is_control() { '\u{FFFD}' } else { c })
        };
        write!(Escaping(f, escape), "{}", self.0)
    }
}

impl<T: Display> Display for Label<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let escape = |f: &mut fmt::Formatter<'_>, c| match c {
            '"' | '\\' => write!(f, "\\{c}"),
            '\n' => f.write_str("\\n"),
            c => f.write_char(c),
        };
        write!(Escaping(f, escape), "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a peer has named itself is text, wherever it stands.
    #[test]
    fn text_of_others_stays_text() {
        let evil = "unix:/tmp/<script>alert(\"1\")</script>&'\\\n";
        assert_eq!(
            Html(Plain(evil)).to_string(),
            "unix:/tmp/&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;&amp;&#39;\\\u{FFFD}"
        );
        assert_eq!(
            Json(evil).to_string(),
            "unix:/tmp/\\u003cscript\\u003ealert(\\\"1\\\")\\u003c/script\\u003e\\u0026'\\\\\\u000a"
        );
        assert_eq!(Label(evil).to_string(), "unix:/tmp/<script>alert(\\\"1\\\")</script>&'\\\\\\n");
    }
}
