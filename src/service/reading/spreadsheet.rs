//! Protects CSV cells with customers' text, since CSV files are often opened as spreadsheets.

/// A cell with this text. A text that a spreadsheet would treat as a formula gets a leading apostrophe (OWASP, "CSV
/// Injection").
pub fn cell(text: String) -> String {
    if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formulas_get_a_leading_apostrophe() {
        for formula in ["=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "-acme/chat"] {
            assert_eq!(cell(formula.to_owned()), format!("'{formula}"));
        }
        for plain in ["", "acme/chat", "a=1", "'=1", "2026-11-23", " =1"] {
            assert_eq!(cell(plain.to_owned()), plain);
        }
    }
}
