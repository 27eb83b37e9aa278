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
