//! What another server says, fit to be shown to an operator.

/// In one line, without what would change how the line looks.
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
    fn nothing_is_left_that_moves_what_stands_around_it() {
        assert_eq!(one_line(" not\r\n\tnow \x1b[31m!\x00"), "not now [31m!");
        assert_eq!(one_line("a\u{202e}b\u{feff}"), "a b");
        assert_eq!(one_line("ما é 大"), "ما é 大");
    }
}
