//! Texts of others in CSV files, which are often opened as spreadsheets.

/// A text as a cell. An apostrophe goes before what a spreadsheet would take for a formula (OWASP, "CSV Injection").
pub fn cell(text: String) -> String {
    if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_spreadsheet_would_compute_is_a_text() {
        for formula in ["=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "-acme/chat"] {
            assert_eq!(cell(formula.to_owned()), format!("'{formula}"));
        }
        for plain in ["", "acme/chat", "a=1", "'=1", "2026-11-23", " =1"] {
            assert_eq!(cell(plain.to_owned()), plain);
        }
    }
}
