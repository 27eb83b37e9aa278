//! Normalizes a text to the form that a person sees, so that a name is found in every spelling that looks the same.

use std::{borrow::Cow, iter, ops::Range};

use icu_normalizer::ComposingNormalizerBorrowed;
use icu_properties::{
    CodePointMapData, CodePointSetData,
    props::{DefaultIgnorableCodePoint, GeneralCategory},
};

/// The mark that replaces hidden text.
pub(super) const BLANK: &str = "[…]";

/// A spelling of a dot that keeps software from turning a name into a link.
const DEFANGED: &str = "[.]";

/// A text and its normalized form. Each character is replaced by its compatibility form (NFKC), invisible characters
/// (default ignorable code points and format characters) are removed, and an ideographic full stop and `[.]` become
/// `.`. An ellipsis is left as it is, since no name has two dots in a row.
pub(super) struct AsRead<'a> {
    original: &'a str,
    /// The normalized text, to search in.
    pub(super) text: Cow<'a, str>,
    /// For each byte of `text`, the range of its source in `original`. `None` if both texts are the same.
    from: Option<Vec<Range<usize>>>,
}

impl<'a> AsRead<'a> {
    pub(super) fn of(original: &'a str) -> Self {
        if original.is_ascii() && !original.contains(DEFANGED) {
            return Self { original, text: original.into(), from: None };
        }
        let nfkc = ComposingNormalizerBorrowed::new_nfkc();
        let (mut text, mut from) = (String::with_capacity(original.len()), Vec::with_capacity(original.len()));
        let mut at = 0;
        while let Some(written) = original[at..].chars().next() {
            let is_defanged = original[at..].starts_with(DEFANGED);
            let source = at..at + if is_defanged { DEFANGED.len() } else { written.len_utf8() };
            at = source.end;
            let mut push = |c: char| {
                let c = if is_defanged || c == '\u{3002}' { '.' } else { c };
                if shows(c) {
                    text.push(c);
                    from.extend(iter::repeat_n(source.clone(), c.len_utf8()));
                }
            };
            match written {
                '\0'..='\x7f' | '…' => push(written),
                _ => nfkc.normalize_iter(iter::once(written)).for_each(push),
            }
        }
        Self { original, text: text.into(), from: Some(from) }
    }

    /// Returns the original text with each of the ranges `found` replaced by `with`. The ranges are positions in
    /// `text`. Overlapping ranges are replaced once.
    pub(super) fn replace(&self, mut found: Vec<Range<usize>>, with: &str) -> String {
        found.retain(|at| !at.is_empty());
        found.sort_unstable_by_key(|at| (at.start, at.end));
        let mut replaced = String::with_capacity(self.original.len());
        let mut passed = 0;
        for at in found {
            let at = match &self.from {
                Some(from) => from[at.start].start..from[at.end - 1].end,
                None => at,
            };
            if at.start >= passed {
                replaced.push_str(&self.original[passed..at.start]);
                replaced.push_str(with);
            }
            passed = passed.max(at.end);
        }
        replaced + &self.original[passed..]
    }
}

/// Returns the maximal ranges whose characters all satisfy `is_part`.
pub(super) fn runs(text: &str, is_part: impl Fn(char) -> bool) -> impl Iterator<Item = Range<usize>> {
    let mut at = 0;
    iter::from_fn(move || {
        let start = at + text[at..].find(&is_part)?;
        at = text[start..].find(|c| !is_part(c)).map_or(text.len(), |len| start + len);
        Some(start..at)
    })
}

/// Whether a character is visible.
fn shows(c: char) -> bool {
    c.is_ascii()
        || !CodePointSetData::new::<DefaultIgnorableCodePoint>().contains(c)
            && CodePointMapData::<GeneralCategory>::new().get(c) != GeneralCategory::Format
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_searched_in_its_normalized_form() {
        for (written, read) in [
            (
                "gpu\u{ff0e}lan gpu\u{3002}lan gpu\u{ff61}lan gpu\u{2024}lan gpu\u{fe52}lan",
                "gpu.lan gpu.lan gpu.lan gpu.lan gpu.lan",
            ),
            (
                "inter\u{2062}\u{202e}\u{2066}\u{fe0f}\u{180e}\u{34f}\u{61c}\u{e0020}\u{3164}\u{ad}\u{feff}\u{600}nal",
                "internal",
            ),
            ("𝗀𝗉𝗎.ⓛⓐⓝ 𝔩𝔞𝔫 ﬁ", "gpu.lan lan fi"),
            ("gpu[.]lan", "gpu.lan"),
            ("é 参数 … [x]", "é 参数 … [x]"),
        ] {
            assert_eq!(AsRead::of(written).text, read);
        }
    }

    #[test]
    fn a_match_in_the_normalized_text_is_replaced_in_the_original() {
        let replace = |written: &str, word: &str| {
            let read = AsRead::of(written);
            let found = read.text.match_indices(word).map(|(at, _)| at..at + word.len()).collect();
            read.replace(found, "#")
        };
        assert_eq!(replace("a\u{200b} g\u{200b}pu[.]lan\u{200b} ½", "gpu.lan"), "a\u{200b} #\u{200b} ½");
        assert_eq!(replace("：ﬁx ﬁ", "f"), "：#x #");
        assert_eq!(replace("：ﬁx ﬁ", "z"), "：ﬁx ﬁ");
        assert_eq!(replace("aba", "a"), "#b#");
        let read = AsRead::of("abcdef");
        assert_eq!(read.replace(vec![3..5, 0..2, 1..4, 6..6], "#"), "#f");
    }
}
