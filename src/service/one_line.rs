//! Text of other servers, made safe to show to an operator.

/// The text in one line, without control characters and invisible characters that would change how it is displayed.
pub(super) fn one_line(text: &str) -> String {
    let is_invisible = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    let words = text.split(|c: char| c.is_whitespace() || is_invisible(c)).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_that_change_the_display_are_removed() {
        assert_eq!(one_line(" not\r\n\tnow \x1b[31m!\x00"), "not now [31m!");
        assert_eq!(one_line("a\u{202e}b\u{feff}"), "a b");
        assert_eq!(one_line("ما é 大"), "ما é 大");
    }
}
