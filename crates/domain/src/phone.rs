//! Phone numbers: parsed once, at the edge, into [`Phone`]; refused with a reason and, where there is one, the number
//! that was probably meant. Validity is libphonenumber's (`rlibphonenumber`); nothing else here knows that library.

use std::fmt;
use std::str::FromStr;

use rlibphonenumber::{NumberLengthType, PHONE_NUMBER_UTIL, PhoneNumber, Region, ValidationError};
use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher24;

/// Longest input looked at, in bytes; a number with every separator is far shorter.
pub const INPUT_MAX_BYTES: usize = 64;
/// E.164: the shortest number we take for complete, in digits with the country code.
const DIGITS_MIN: usize = 7;
/// E.164: the longest number, in digits with the country code.
const DIGITS_MAX: usize = 15;
/// Digits read before giving up: room for an international prefix before the longest number.
const DIGITS_READ_MAX: usize = 20;
/// Without a `+`, so few digits are a short code (at home they have 3 to 6).
const SHORT_CODE_DIGITS_MAX: usize = 6;

/// A phone number as E.164 (ITU-T): 7 to 15 digits that begin with the country code. Eight bytes, compares as a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Phone(u64);

/// A country as ISO 3166-1 alpha-2: two capital ASCII letters. The shape is checked, not the existence.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Country([u8; 2]);

/// How much of a number is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Strictness {
    /// The number is in use by its country's numbering plan (libphonenumber's "valid").
    #[default]
    Strict,
    /// The shape of E.164 alone: `+` and 7 to 15 digits, the first not 0.
    Lenient,
}

/// A number that was accepted, and where it belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parsed {
    /// The number.
    pub phone: Phone,
    /// Its country; none for numbers that belong to no country (+800, satellites) or, when lenient, to none known.
    pub country: Option<Country>,
}

/// Why a number was refused, and the valid number it probably stands for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct PhoneError {
    /// What is wrong.
    pub reason: PhoneReason,
    /// A number like the input that is valid, as `+` and digits: to offer, never to use unasked.
    pub suggestion: Option<String>,
}

/// What is wrong with a number: a closed list. [`code`](Self::code) is for programs, `Display` for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PhoneReason {
    /// Nothing but spaces.
    #[error("the phone number is empty")]
    Empty,
    /// Letters, or signs that do not separate digits, or a `+` elsewhere than first.
    #[error("this is not a phone number: use + and digits, e.g. +4915112345678")]
    NotANumber,
    /// No `+`, and neither a default country nor a way to see what is meant.
    #[error("the country is missing: write the number with + and the country code")]
    MissingCountry,
    /// No country has this code.
    #[error("no country has this country code")]
    UnknownCountryCode,
    /// Fewer digits than any number of this country.
    #[error("the phone number has too few digits")]
    TooShort,
    /// More digits than any number of this country.
    #[error("the phone number has too many digits")]
    TooLong,
    /// A number of digits that this country does not have, though it has shorter and longer ones.
    #[error("the phone number has a number of digits that its country does not use")]
    WrongLength,
    /// The national prefix (a 0 mostly) stands between country code and number.
    #[error("leave out the national prefix (such as 0) after the country code")]
    TrunkPrefix,
    /// A short code: it can send but not receive.
    #[error("short codes cannot be written to")]
    ShortCode,
    /// The length is right, but the numbering plan gives such numbers to nobody.
    #[error("no such number is in use in its country")]
    InvalidForCountry,
}

impl PhoneReason {
    /// The stable code for programs.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Empty => "phone_empty",
            Self::NotANumber => "phone_not_a_number",
            Self::MissingCountry => "phone_missing_country",
            Self::UnknownCountryCode => "phone_unknown_country_code",
            Self::TooShort => "phone_too_short",
            Self::TooLong => "phone_too_long",
            Self::WrongLength => "phone_wrong_length",
            Self::TrunkPrefix => "phone_trunk_prefix",
            Self::ShortCode => "phone_short_code",
            Self::InvalidForCountry => "phone_invalid_for_country",
        }
    }
}

impl Phone {
    /// Reads what a person or a program wrote. Separators (spaces of all kinds, `-` `.` `(` `)` `/`), digits of other
    /// scripts and invisible marks are understood; letters are not. A number without `+` is national in `default`.
    pub fn parse(input: &str, default: Option<Country>, strictness: Strictness) -> Result<Parsed, PhoneError> {
        let read = Digits::read(input)?;
        if read.plus {
            return international(&read, strictness);
        }
        if let Some(parsed) = default.and_then(|country| national(&read, country, strictness)) {
            return Ok(parsed);
        }
        Err(PhoneError { reason: without_plus(&read, default), suggestion: meant(&read, default) })
    }

    /// The number with these digits, if they have the shape of E.164. For numbers that were parsed before.
    pub const fn from_digits(digits: u64) -> Option<Self> {
        // Seven digits to fifteen, as DIGITS_MIN and DIGITS_MAX say.
        if digits >= 1_000_000 && digits < 1_000_000_000_000_000 { Some(Self(digits)) } else { None }
    }

    /// The digits, country code first.
    pub const fn digits(self) -> u64 {
        self.0
    }

    /// The number's name in look-ups: SipHash-2-4 of its eight big-endian octets under a key of the installation. Without the
    /// key it tells nothing; with it, equal numbers have equal tags.
    pub fn tag(self, key: &[u8; 16]) -> i64 {
        SipHasher24::new_with_key(key).hash(&self.0.to_be_bytes()) as i64
    }

    /// The country code (ITU-T E.164 assigned): 1 for +1, 49 for +49, 1 to 3 digits, known by its own first digits.
    pub const fn country_code(self) -> u16 {
        let mut head = self.0;
        while head >= 1000 {
            head /= 10;
        }
        leading_country_code(head as u16)
    }

    /// Its country; none for numbers that belong to no country or that no numbering plan knows. About a microsecond.
    pub fn country(self) -> Option<Country> {
        region_of(&self.known()).and_then(country)
    }

    /// The digits after the country code, as the library wants them: the number and how many zeros lead it.
    fn national(self) -> (u64, i32) {
        let mut unit = 1;
        while self.0 / unit > 999 {
            unit *= 10;
        }
        // `unit` splits after three digits; shorter codes leave more digits to the number.
        let unit = unit * [100, 10, 1][country_code_digits((self.0 / unit) as u16) - 1];
        let number = self.0 % unit;
        let zeros = unit.ilog10() - number.checked_ilog10().map_or(0, |log| log + 1);
        (number, zeros as i32)
    }

    /// The number as the library holds it.
    fn known(self) -> PhoneNumber {
        let (national_number, zeros) = self.national();
        PhoneNumber {
            country_code: i32::from(self.country_code()),
            national_number,
            italian_leading_zero: (zeros > 0).then_some(true),
            number_of_leading_zeros: (zeros > 1).then_some(zeros),
            ..PhoneNumber::default()
        }
    }
}

/// Gets the numbering plans of these countries ready. Reading the metadata takes some 20 ms, the first number of a country
/// up to 20 ms more (its patterns are compiled, about half a megabyte): do it at start rather than in a request.
pub fn warm_up(countries: impl IntoIterator<Item = Country>) {
    for country in countries {
        if let Ok(example) = PHONE_NUMBER_UTIL.get_example_number(country.region()) {
            region_of(&example).map(|region| is_valid(&example, region));
        }
    }
}

/// How many of three leading digits are the country code. E.164 codes are a prefix code: 1 and 7 stand alone, of the
/// tens those listed are codes by themselves, all else has three digits.
const fn country_code_digits(head: u16) -> usize {
    match head / 10 {
        10..=19 | 70..=79 => 1,
        20 | 27 | 30..=34 | 36 | 39..=41 | 43..=49 | 51..=58 | 60..=66 | 81 | 82 | 84 | 86 | 90..=95 | 98 => 2,
        _ => 3,
    }
}

/// The country code that three leading digits begin with.
const fn leading_country_code(head: u16) -> u16 {
    match country_code_digits(head) {
        1 => head / 100,
        2 => head / 10,
        _ => head,
    }
}

/// What was read of an input: its digits, and whether `+` stood before them.
struct Digits {
    plus: bool,
    text: [u8; DIGITS_READ_MAX],
    len: usize,
}

impl Digits {
    fn read(input: &str) -> Result<Self, PhoneError> {
        let trimmed = input.trim_matches(|c: char| c.is_whitespace() || is_invisible(c));
        if trimmed.is_empty() {
            return Err(PhoneReason::Empty.into());
        }
        if input.len() > INPUT_MAX_BYTES {
            return Err(PhoneReason::TooLong.into());
        }
        let mut read = Self { plus: false, text: [0; DIGITS_READ_MAX], len: 0 };
        let mut spoiled = false;
        for c in trimmed.chars() {
            match digit(c) {
                Some(_) if read.len == DIGITS_READ_MAX => return Err(PhoneReason::TooLong.into()),
                Some(value) => read.push(value),
                None if matches!(c, '+' | '\u{FF0B}') && !read.plus && read.len == 0 => read.plus = true,
                None if is_separator(c) || is_invisible(c) => {}
                None if c.is_alphabetic() => return Err(PhoneReason::NotANumber.into()),
                None => spoiled = true,
            }
        }
        if spoiled || read.len == 0 {
            return Err(PhoneError { reason: PhoneReason::NotANumber, suggestion: meant(&read, None) });
        }
        Ok(read)
    }

    fn push(&mut self, value: u8) {
        self.text[self.len] = b'0' + value;
        self.len += 1;
    }

    fn as_str(&self) -> &str {
        std::str::from_utf8(&self.text[..self.len]).expect("only ASCII digits were pushed")
    }

    /// The digits as a number of E.164 shape.
    fn phone(&self) -> Option<Phone> {
        (self.text[0] != b'0' && (DIGITS_MIN..=DIGITS_MAX).contains(&self.len))
            .then(|| self.text[..self.len].iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0')))
            .map(Phone)
    }
}

/// A number with `+`: the whole of it is said.
fn international(read: &Digits, strictness: Strictness) -> Result<Parsed, PhoneError> {
    if let Some(phone) = read.phone() {
        let number = phone.known();
        let region = region_of(&number);
        let valid = region.is_some_and(|region| is_valid(&number, region));
        if valid || strictness == Strictness::Lenient {
            return Ok(Parsed { phone, country: region.and_then(country) });
        }
    } else if strictness == Strictness::Lenient && read.text[0] != b'0' {
        let reason = if read.len < DIGITS_MIN { PhoneReason::TooShort } else { PhoneReason::TooLong };
        return Err(reason.into());
    }
    let suggestion = meant(read, None);
    Err(PhoneError { reason: with_plus(read, suggestion.as_deref()), suggestion })
}

/// A number without `+`, dialled as in `home`.
fn national(read: &Digits, home: Country, strictness: Strictness) -> Option<Parsed> {
    // Where plans have numbers of many lengths (Germany), 49151… is also a valid, unlikely, national number: a valid
    // number that begins with the home country code has merely lost its +.
    let home_code = PHONE_NUMBER_UTIL.get_country_code_for_region(home.region())?;
    let complete = read.phone().filter(|phone| i32::from(phone.country_code()) == home_code);
    if let Some(parsed) = complete.and_then(|_| international(read, Strictness::Strict).ok()) {
        return Some(parsed);
    }
    let number = PHONE_NUMBER_UTIL.parse(read.as_str(), Some(home.region())).ok()?;
    let region = region_of(&number);
    let valid = region.is_some_and(|region| is_valid(&number, region));
    let possible = || PHONE_NUMBER_UTIL.is_possible_number(&number);
    if !valid && (strictness == Strictness::Strict || read.len <= SHORT_CODE_DIGITS_MAX || !possible()) {
        return None;
    }
    Some(Parsed { phone: phone_of(&number)?, country: region.and_then(country) })
}

/// Why a number with `+` is not valid.
fn with_plus(read: &Digits, suggestion: Option<&str>) -> PhoneReason {
    let head = read.text[..3].iter().fold(0, |head, digit| head * 10 + u16::from(digit.saturating_sub(b'0')));
    let code = leading_country_code(head);
    if PHONE_NUMBER_UTIL.get_region_for_country_code(i32::from(code)).is_none() {
        return if read.len < 3 { PhoneReason::TooShort } else { PhoneReason::UnknownCountryCode };
    }
    // With the country code right, the library can only have dropped what stood after it.
    if suggestion.is_some() {
        return PhoneReason::TrunkPrefix;
    }
    match read.phone() {
        Some(phone) => length_reason(&phone.known()).unwrap_or(PhoneReason::InvalidForCountry),
        None if read.len < DIGITS_MIN => PhoneReason::TooShort,
        None => PhoneReason::TooLong,
    }
}

/// Why a number without `+` is not valid.
fn without_plus(read: &Digits, default: Option<Country>) -> PhoneReason {
    if read.len <= SHORT_CODE_DIGITS_MAX {
        return PhoneReason::ShortCode;
    }
    let Some(home) = default else {
        return PhoneReason::MissingCountry;
    };
    if read.as_str().starts_with("00") {
        return PhoneReason::MissingCountry;
    }
    match PHONE_NUMBER_UTIL.parse(read.as_str(), Some(home.region())) {
        Ok(number) => length_reason(&number).unwrap_or(PhoneReason::InvalidForCountry),
        Err(_) => PhoneReason::NotANumber,
    }
}

/// What the length of a number says against it.
fn length_reason(number: &PhoneNumber) -> Option<PhoneReason> {
    match PHONE_NUMBER_UTIL.is_possible_number_with_reason(number) {
        Ok(NumberLengthType::IsPossible) => None,
        Ok(NumberLengthType::IsPossibleLocalOnly) => Some(PhoneReason::TooShort),
        Err(ValidationError::InvalidCountryCode) => Some(PhoneReason::UnknownCountryCode),
        Err(ValidationError::TooShort) => Some(PhoneReason::TooShort),
        Err(ValidationError::TooLong) => Some(PhoneReason::TooLong),
        Err(_) => Some(PhoneReason::WrongLength),
    }
}

/// The valid number that was probably meant: `+` forgotten, 00 for it, zeros before the country code, or a national
/// prefix after it. Never the input itself.
fn meant(read: &Digits, default: Option<Country>) -> Option<String> {
    let digits = read.as_str().trim_start_matches('0');
    let with_plus = format!("+{digits}");
    // A national number that lost or doubled its zero, then one that lost its +.
    let at_home = default.and_then(|home| PHONE_NUMBER_UTIL.parse(digits, Some(home.region())).ok());
    let abroad = || PHONE_NUMBER_UTIL.parse(&with_plus, None).ok();
    let valid = |number: &PhoneNumber| region_of(number).is_some_and(|region| is_valid(number, region));
    let number = at_home.filter(valid).or_else(|| abroad().filter(valid))?;
    Some(phone_of(&number)?.to_string())
}

fn region_of(number: &PhoneNumber) -> Option<Region> {
    PHONE_NUMBER_UTIL.get_region_for_number(number)
}

fn is_valid(number: &PhoneNumber, region: Region) -> bool {
    PHONE_NUMBER_UTIL.is_valid_number_for_region(number, region)
}

fn country(region: Region) -> Option<Country> {
    (region != Region::World).then(|| Country((region as u16).to_be_bytes()))
}

/// From the library's number back to ours.
fn phone_of(number: &PhoneNumber) -> Option<Phone> {
    let zeros = match number.italian_leading_zero {
        Some(true) => number.number_of_leading_zeros.unwrap_or(1).unsigned_abs(),
        _ => 0,
    };
    let length = zeros + number.national_number.checked_ilog10().map_or(0, |log| log + 1);
    let head = u64::from(number.country_code.unsigned_abs()).checked_mul(10_u64.checked_pow(length)?)?;
    Phone::from_digits(head.checked_add(number.national_number)?)
}

/// The value of a decimal digit of the scripts people type phone numbers in.
fn digit(c: char) -> Option<u8> {
    if c.is_ascii() {
        return c.is_ascii_digit().then(|| c as u8 - b'0');
    }
    // The zeros of: Arabic, Persian, Devanagari, Bengali, Gurmukhi, Gujarati, Oriya, Tamil, Telugu, Kannada, Malayalam,
    // Thai, Lao, Tibetan, Myanmar, Khmer, fullwidth.
    const ZEROS: [u32; 17] = [
        0x0660, 0x06F0, 0x0966, 0x09E6, 0x0A66, 0x0AE6, 0x0B66, 0x0BE6, 0x0C66, 0x0CE6, 0x0D66, 0x0E50, 0x0ED0, 0x0F20,
        0x1040, 0x17E0, 0xFF10,
    ];
    ZEROS.iter().find_map(|zero| (c as u32).checked_sub(*zero).filter(|value| *value < 10)).map(|value| value as u8)
}

/// What people write between digits; the dashes and full stops of other scripts too.
fn is_separator(c: char) -> bool {
    matches!(c, ' ' | '-' | '.' | '(' | ')' | '/')
        || c.is_whitespace()
        || matches!(c, '\u{2010}'..='\u{2015}' | '\u{2212}' | '\u{FF0D}' | '\u{FF0E}' | '\u{FF08}' | '\u{FF09}')
}

/// Marks that copying from contact lists brings along: zero-width and direction marks, soft hyphen, BOM.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{AD}' | '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{2069}' | '\u{FEFF}')
}

impl From<PhoneReason> for PhoneError {
    fn from(reason: PhoneReason) -> Self {
        Self { reason, suggestion: None }
    }
}

impl fmt::Display for Phone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "+{}", self.0)
    }
}

/// `+` and digits in the shape of E.164, as [`Display`](fmt::Display) writes them; for numbers that were parsed before.
impl FromStr for Phone {
    type Err = PhoneError;
    fn from_str(text: &str) -> Result<Self, PhoneError> {
        Self::parse(text, None, Strictness::Lenient).map(|parsed| parsed.phone)
    }
}

impl TryFrom<String> for Phone {
    type Error = PhoneError;
    fn try_from(text: String) -> Result<Self, PhoneError> {
        text.parse()
    }
}

impl From<Phone> for String {
    fn from(phone: Phone) -> Self {
        phone.to_string()
    }
}

impl Country {
    /// Two ASCII letters, in either case.
    pub fn parse(text: &str) -> Option<Self> {
        let letters: [u8; 2] = text.as_bytes().try_into().ok()?;
        letters.iter().all(u8::is_ascii_alphabetic).then(|| Self(letters.map(|letter| letter.to_ascii_uppercase())))
    }

    /// The two capital letters.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("a country is ASCII letters")
    }

    /// The two letters as one number, the first letter high: more than 0.
    pub const fn number(self) -> i16 {
        i16::from_be_bytes(self.0)
    }

    /// The country of a stored number; 0 is none.
    pub fn from_number(number: i16) -> Option<Self> {
        let letters = number.to_be_bytes();
        letters.iter().all(u8::is_ascii_uppercase).then_some(Self(letters))
    }

    fn region(self) -> Region {
        Region::from_code(self.as_str()).expect("every pair of letters is a region of the library")
    }
}

impl fmt::Display for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text is not two letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a country is two letters, e.g. DE")]
pub struct CountryError;

impl TryFrom<String> for Country {
    type Error = CountryError;
    fn try_from(text: String) -> Result<Self, CountryError> {
        Self::parse(&text).ok_or(CountryError)
    }
}

impl From<Country> for String {
    fn from(country: Country) -> Self {
        country.as_str().to_owned()
    }
}

#[cfg(test)]
mod oracle;
#[cfg(test)]
mod tests;
