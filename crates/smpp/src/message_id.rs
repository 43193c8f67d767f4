//! Message ids: some carriers answer submit_sm in one base and write the receipt in the other.

use std::borrow::Cow;

/// What to do to an id before it is compared. A connection has one rule for ids of submit_sm_resp and one for those of receipts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum IdRule {
    /// Leave it: ids are opaque, and leading zeros belong to them.
    #[default]
    AsIs,
    /// It is hexadecimal here: make it decimal. Prefer this one where there is a choice: it settles the case of the digits too.
    HexToDec,
    /// It is decimal here: make it hexadecimal, lower case, without leading zeros.
    DecToHex,
}

/// Applies the rule. What is not a number of that base, or is beyond 128 bits, stays as it is.
#[must_use]
pub fn convert(rule: IdRule, id: &str) -> Cow<'_, str> {
    let number = |radix| {
        let digits = !id.is_empty() && id.bytes().all(|octet| char::from(octet).is_digit(radix));
        digits.then(|| u128::from_str_radix(id, radix).ok()).flatten()
    };
    match rule {
        IdRule::AsIs => None,
        IdRule::HexToDec => number(16).map(|value| value.to_string()),
        IdRule::DecToHex => number(10).map(|value| format!("{value:x}")),
    }
    .map_or(Cow::Borrowed(id), Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::{IdRule, convert};

    #[test]
    fn ids_change_base_only_when_they_are_numbers_of_it() {
        let table = [
            (IdRule::AsIs, "00aF", "00aF"),
            (IdRule::HexToDec, "4F2A", "20266"),
            (IdRule::HexToDec, "4f2a", "20266"),
            (IdRule::HexToDec, "0000004f2a", "20266"),
            (IdRule::HexToDec, "c0ffee-1", "c0ffee-1"),
            (IdRule::HexToDec, "+1f", "+1f"),
            (IdRule::HexToDec, "", ""),
            (IdRule::DecToHex, "20266", "4f2a"),
            (IdRule::DecToHex, "0020266", "4f2a"),
            (IdRule::DecToHex, "4f2a", "4f2a"),
            (IdRule::DecToHex, "340282366920938463463374607431768211456", "340282366920938463463374607431768211456"),
        ];
        for (rule, id, wanted) in table {
            assert_eq!(convert(rule, id), wanted, "{rule:?} {id}");
        }
    }
}
