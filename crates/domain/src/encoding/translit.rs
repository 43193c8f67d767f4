//! Typographic signs that a GSM-7 text can spell with plainer ones. Letters are never changed. It is done only when it
//! makes a whole text GSM-7; half a replacement would cost the sign and save nothing.

/// What is written for a sign that GSM-7 lacks; `None` if there is nothing as good.
#[rustfmt::skip]
pub(super) fn replacement(c: char) -> Option<&'static str> {
    Some(match c {
        '«' | '»' | '“' | '”' | 'ʺ' | 'ˮ' | '‟' | '„' | '❝' | '❞' | '〝' | '〞' => "\"",
        '‘' | '’' | 'ʻ' | 'ˈ' | 'ʼ' | 'ʽ' | 'ʹ' | '‛' | '´' | 'ˊ' | '`' | 'ˋ' | '❛' | '❜' | '｀' => "'",
        '–' | '—' | '‐' | '‑' | '‒' | '―' | '−' | '•' => "-",
        '…' => "...",
        '‚' => ",",
        '⁄' | '∕' => "/",
        '‼' => "!!",
        '¼' => "1/4",
        '½' => "1/2",
        '¾' => "3/4",
        '\t' | '\u{A0}' | '\u{2000}'..='\u{200A}' | '\u{202F}' | '\u{205F}' | '\u{3000}' => " ",
        '\u{200B}' | '\u{FEFF}' | '\u{2060}' => "",
        '！'..='～' => fullwidth(c),
        _ => return None,
    })
}

/// The ASCII sign of a fullwidth form.
fn fullwidth(c: char) -> &'static str {
    const ASCII: &str =
        "!\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_'abcdefghijklmnopqrstuvwxyz{|}~";
    let at = c as usize - '！' as usize;
    &ASCII[at..=at]
}

#[cfg(test)]
mod tests {
    use super::super::gsm7;
    use super::*;

    #[test]
    fn what_is_written_is_gsm7_and_what_it_replaces_is_not() {
        let replaced = ('\0'..='\u{FFFF}').filter_map(|c| Some((c, replacement(c)?)));
        let mut count = 0;
        for (c, plain) in replaced {
            assert_eq!(gsm7::place(c), None, "{c:?} needs no replacement");
            assert!(gsm7::count(plain).is_some(), "{c:?} becomes {plain:?}");
            count += 1;
        }
        assert_eq!(count, 155);
    }

    #[test]
    fn signs() {
        let table = [
            ("“", "\""),
            ("’", "'"),
            ("—", "-"),
            ("…", "..."),
            ("\u{A0}", " "),
            ("\u{200B}", ""),
            ("＠", "@"),
            ("～", "~"),
        ];
        for (from, to) in table {
            assert_eq!(from.chars().map(|c| replacement(c).expect("listed")).collect::<String>(), to);
        }
        for c in ['a', 'é', 'ç', 'ş', '€', '中', '😀'] {
            assert_eq!(replacement(c), None);
        }
    }
}
