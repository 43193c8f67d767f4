//! Words that act by themselves: STOP, START and HELP in many languages, and an account's own keywords.
//!
//! A built-in word counts only if it is all that was written, whatever its case, accents and punctuation: "STOP!" does, "stop by my shop" does
//! not. Plain phrases ("please opt me out") count the same way (CTIA; 47 CFR 64.1200(a)(10)).

use crate::message::numbered;

numbered! {
    /// What an inbound message does.
    Action: i16 {
        /// It is kept.
        None = 0 "none",
        /// It ends messages to who wrote it.
        Stop = 1 "stop",
        /// It lifts what a stop of theirs did.
        Start = 2 "start",
        /// It asks who this is.
        Help = 3 "help",
        /// A rule of the account answers it.
        Rule = 4 "rule",
    }
}

numbered! {
    /// How a keyword is looked for.
    Match: i16 {
        /// It is all that was written.
        Exact = 0 "exact",
        /// What was written begins with it, as a word.
        Prefix = 1 "prefix",
        /// It stands somewhere in it, as a word.
        Contains = 2 "contains",
    }
}

/// Whole texts that stop, as `plain` leaves them.
const STOP: &[&str] = &[
    // English, as carriers and the FCC name them
    "stop",
    "stopall",
    "stop all",
    "unsubscribe",
    "end",
    "quit",
    "cancel",
    "revoke",
    "optout",
    "opt out",
    "remove",
    "remove me",
    // plain phrases
    "opt me out",
    "stop texting me",
    "stop texting",
    "stop messaging me",
    "stop sending me messages",
    "stop sending me texts",
    "stop messages",
    "do not text me",
    "dont text me",
    "do not text me again",
    "dont text me again",
    "do not contact me",
    "dont contact me",
    "no more texts",
    "no more messages",
    "take me off your list",
    "take me off this list",
    "remove me from your list",
    "remove me from this list",
    "unsubscribe me",
    "i want to opt out",
    "i want to unsubscribe",
    "leave me alone",
    // Spanish
    "parar",
    "alto",
    "baja",
    "darse de baja",
    "darme de baja",
    "cancelar",
    "no mas",
    "no mas mensajes",
    "detener",
    // French
    "arret",
    "arrete",
    "arreter",
    "arretez",
    "desabonner",
    "desinscrire",
    "desinscription",
    "desabonnement",
    "ne plus recevoir",
    // German
    "stopp",
    "abmelden",
    "abbestellen",
    "austragen",
    "keine sms mehr",
    "keine nachrichten mehr",
    // Portuguese
    "pare",
    "sair",
    "descadastrar",
    "remover",
    "nao quero mais",
    // Italian
    "basta",
    "ferma",
    "annulla",
    "cancella",
    "disiscrivi",
    "cancellami",
    "disiscrivimi",
    // Dutch
    "afmelden",
    "uitschrijven",
    "stoppen",
    "geen sms meer",
    // Polish
    "koniec",
    "wypisz",
    "wypisz mnie",
    "rezygnuje",
    "anuluj",
    "zatrzymaj",
    // Turkish
    "dur",
    "iptal",
    "ret",
    "red",
    "abonelikten cik",
    "cikis",
    // Russian
    "стоп",
    "отписка",
    "отписаться",
    "отмена",
    "хватит",
    "отпишите меня",
    // Arabic
    "توقف",
    "ايقاف",
    "الغاء",
    "الغاء الاشتراك",
    "قف",
    "اوقف",
    // Persian
    "لغو",
    "توقف پیام",
    "لغو عضویت",
    "لغو اشتراک",
    "انصراف",
    // Hindi
    "रोकें",
    "रोको",
    "बंद करें",
    "बंद करो",
    "बंद",
    "रद्द करें",
    // Indonesian
    "berhenti",
    "stop sms",
    "hentikan",
    "batal",
    "keluar",
];

const START: &[&str] = &[
    "start",
    "unstop",
    "yes",
    "subscribe",
    "optin",
    "opt in",
    "opt me in",
    "resume",
    "alta",
    "comenzar",
    "iniciar",
    "empezar",
    "si",
    "reanudar",
    "commencer",
    "demarrer",
    "reprendre",
    "oui",
    "anmelden",
    "starten",
    "ja",
    "fortsetzen",
    "comecar",
    "sim",
    "voltar",
    "inizia",
    "riprendi",
    "aanmelden",
    "beginnen",
    "zapisz",
    "zapisz mnie",
    "wznow",
    "basla",
    "evet",
    "basvur",
    "старт",
    "подписаться",
    "подписка",
    "начать",
    "ابدا",
    "ابدأ",
    "اشتراك",
    "نعم",
    "شروع",
    "عضویت",
    "शुरू",
    "शुरू करें",
    "प्रारंभ",
    "mulai",
    "daftar",
    "lanjut",
];

const HELP: &[&str] = &[
    "help",
    "info",
    "information",
    "help me",
    "ayuda",
    "informacion",
    "aide",
    "hilfe",
    "ajuda",
    "aiuto",
    "informazioni",
    "hulp",
    "pomoc",
    "yardim",
    "bilgi",
    "помощь",
    "справка",
    "инфо",
    "مساعدة",
    "مساعده",
    "راهنما",
    "کمک",
    "راهنمایی",
    "मदद",
    "सहायता",
    "bantuan",
    "tolong",
];

/// Words of courtesy around a word that counts.
const COURTESY: &[&str] = &[
    "please",
    "pls",
    "plz",
    "thanks",
    "thank you",
    "por favor",
    "gracias",
    "s il vous plait",
    "svp",
    "merci",
    "bitte",
    "danke",
    "obrigado",
    "per favore",
    "grazie",
    "alstublieft",
    "prosze",
    "lutfen",
    "пожалуйста",
    "من فضلك",
    "لطفا",
    "कृपया",
    "tolong",
];

/// A text as keywords are compared: lower case, without accents and punctuation, one space between words.
pub fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars().flat_map(char::to_lowercase) {
        // An apostrophe joins: "don't" is "dont".
        if matches!(c, '\'' | '’' | '‘' | 'ʼ' | '`') {
            if out.ends_with(['s']) && out.len() == 1 {
                out.push(' ');
            }
            continue;
        }
        let before = out.len();
        fold(c, &mut out);
        if out.len() == before && !is_mark(c) && !out.is_empty() && !out.ends_with(' ') {
            out.push(' ');
        }
    }
    out.truncate(out.trim_end().len());
    out
}

/// Marks that stand on or in other letters: vowel signs, tatweel, joiners, the dot that `İ` leaves behind.
fn is_mark(c: char) -> bool {
    matches!(c, '\u{300}'..='\u{36F}' | '\u{640}' | '\u{64B}'..='\u{65F}' | '\u{670}' | '\u{200B}'..='\u{200F}' | '\u{FEFF}' | '\u{FE0F}')
}

/// Adds the letter that `c` is written from; nothing for what is no letter or digit.
fn fold(c: char, out: &mut String) {
    let plain = match c {
        'á' | 'à' | 'â' | 'ä' | 'ã' | 'å' | 'ā' | 'ă' | 'ą' => 'a',
        'ç' | 'ć' | 'č' => 'c',
        'ď' | 'đ' => 'd',
        'é' | 'è' | 'ê' | 'ë' | 'ē' | 'ė' | 'ę' | 'ě' => 'e',
        'ğ' => 'g',
        'í' | 'ì' | 'î' | 'ï' | 'ī' | 'ı' => 'i',
        'ł' => 'l',
        'ñ' | 'ń' | 'ň' => 'n',
        'ó' | 'ò' | 'ô' | 'ö' | 'õ' | 'ø' | 'ō' | 'ő' => 'o',
        'ř' => 'r',
        'ś' | 'š' | 'ş' | 'ș' => 's',
        'ť' | 'ț' | 'ţ' => 't',
        'ú' | 'ù' | 'û' | 'ü' | 'ū' | 'ů' | 'ű' => 'u',
        'ý' | 'ÿ' => 'y',
        'ź' | 'ż' | 'ž' => 'z',
        'ё' => 'е',
        'أ' | 'إ' | 'آ' | 'ٱ' => 'ا',
        'ى' | 'ي' => 'ی',
        'ك' => 'ک',
        'ß' => {
            out.push_str("ss");
            return;
        }
        c if is_mark(c) => return,
        // Vowel signs of Indian scripts are part of the letter.
        c if c.is_alphanumeric() || matches!(c, '\u{900}'..='\u{963}') => c,
        _ => return,
    };
    out.push(plain);
}

/// What a text does by itself.
pub fn built_in(text: &str) -> Action {
    let mut text = plain(text);
    let lists = [(STOP, Action::Stop), (START, Action::Start), (HELP, Action::Help)];
    loop {
        // The lists are written as people write; they are compared as `plain` leaves them.
        let found = lists.iter().find(|(words, _)| words.iter().any(|word| plain(word) == text));
        if let Some((_, action)) = found {
            return *action;
        }
        let shorter = COURTESY.iter().map(|word| plain(word)).find_map(|word| {
            let front = text.strip_prefix(&word).and_then(|rest| rest.strip_prefix(' '));
            front.or_else(|| text.strip_suffix(&word).and_then(|rest| rest.strip_suffix(' '))).map(str::to_owned)
        });
        match shorter {
            Some(shorter) => text = shorter,
            None => return Action::None,
        }
    }
}

/// A rule of an account, as it is compared.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rule<Id> {
    /// Which.
    pub id: Id,
    /// What is looked for, as `plain` leaves it.
    pub keyword: String,
    /// How.
    pub how: Match,
    /// On which own number; every one if none.
    pub number: Option<String>,
}

impl<Id> Rule<Id> {
    fn fits(&self, text: &str, number: &str) -> bool {
        let words = || format!(" {text} ");
        self.number.as_deref().is_none_or(|own| own == number)
            && match self.how {
                Match::Exact => text == self.keyword,
                Match::Prefix => words().starts_with(&format!(" {} ", self.keyword)),
                Match::Contains => words().contains(&format!(" {} ", self.keyword)),
            }
    }
}

/// The rule that answers a text on a number: the most exact way of looking first, then one for that number alone, then the longest keyword,
/// then the first made.
pub fn choose<'a, Id>(rules: &'a [Rule<Id>], text: &str, number: &str) -> Option<&'a Rule<Id>> {
    let text = plain(text);
    let fitting = rules.iter().filter(|rule| rule.fits(&text, number));
    fitting.min_by_key(|rule| (rule.how, rule.number.is_none(), std::cmp::Reverse(rule.keyword.len())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_words_do() {
        use Action::*;
        let rows = [
            ("STOP", Stop),
            ("stop", Stop),
            ("  Stop. ", Stop),
            ("S-T-O-P", None),
            ("«Stop!»", Stop),
            ("Stop!!!", Stop),
            ("STOP ALL", Stop),
            ("StopAll", Stop),
            ("Opt-Out", Stop),
            ("optout", Stop),
            ("END", Stop),
            ("quit", Stop),
            ("Cancel", Stop),
            ("REVOKE", Stop),
            ("unsubscribe", Stop),
            ("Please stop", Stop),
            ("stop please, thanks", Stop),
            ("please opt me out", Stop),
            ("Stop texting me!", Stop),
            ("Don't text me", Stop),
            ("ARRÊT", Stop),
            ("arrete", Stop),
            ("s'il vous plaît arrêter", Stop),
            ("Baja", Stop),
            ("no más", Stop),
            ("STOPP", Stop),
            ("Abmelden bitte", Stop),
            ("SAIR", Stop),
            ("não quero mais", Stop),
            ("BASTA", Stop),
            ("Afmelden", Stop),
            ("rezygnuję", Stop),
            ("İPTAL", Stop),
            ("çıkış", Stop),
            ("Стоп", Stop),
            ("ОТПИСАТЬСЯ!", Stop),
            ("إلغاء", Stop),
            ("الغاء", Stop),
            ("تَوَقَّف", Stop),
            ("لغو", Stop),
            ("لغو عضويت", Stop),
            ("बंद करें", Stop),
            ("रोकें", Stop),
            ("BERHENTI", Stop),
            ("stop 🛑", Stop),
            ("START", Start),
            ("unstop", Start),
            ("Yes", Start),
            ("Sí", Start),
            ("Старт", Start),
            ("شروع", Start),
            ("mulai", Start),
            ("HELP", Help),
            ("help?", Help),
            ("INFO", Help),
            ("Ayuda", Help),
            ("Hilfe", Help),
            ("yardım", Help),
            ("راهنما", Help),
            ("मदद", Help),
            ("Помощь", Help),
            // What must not count.
            ("stop by my shop", None),
            ("don't stop", None),
            ("Dont stop", None),
            ("stopped", None),
            ("non stop", None),
            ("bus stop", None),
            ("I will stop", None),
            ("the end", None),
            ("weekend", None),
            ("cancel my order", None),
            ("can you help me move", None),
            ("start at 9?", None),
            ("yes please call me", None),
            ("no", None),
            ("", None),
            ("!!!", None),
            ("please", None),
            ("infos", None),
            ("stoppen wir morgen", None),
            ("Basta così, a domani", None),
            ("1", None),
        ];
        for (text, expected) in rows {
            assert_eq!(built_in(text), expected, "{text:?} = {:?}", plain(text));
        }
    }

    #[test]
    fn no_word_does_two_things() {
        let mut all: Vec<_> = [STOP, START, HELP].iter().flat_map(|list| list.iter().map(|word| plain(word))).collect();
        all.sort();
        let same: Vec<_> = all.windows(2).filter(|pair| pair[0] == pair[1]).collect();
        assert!(same.iter().all(|pair| STOP.iter().filter(|w| plain(w) == pair[0]).count() != 1), "{same:?}");
        for word in STOP {
            assert_eq!(built_in(word), Action::Stop, "{word}");
        }
    }

    #[test]
    fn which_rule_answers() {
        let rule = |id, keyword: &str, how, number: Option<&str>| Rule {
            id,
            keyword: plain(keyword),
            how,
            number: number.map(str::to_owned),
        };
        let rules = [
            rule(1, "menu", Match::Contains, None),
            rule(2, "menu", Match::Prefix, None),
            rule(3, "Menü", Match::Exact, None),
            rule(4, "menu", Match::Exact, Some("22333")),
            rule(5, "menu card", Match::Prefix, None),
        ];
        for (text, number, expected) in [
            ("MENU!", "44555", Some(3)),
            ("menu", "22333", Some(4)),
            ("menu for two", "22333", Some(2)),
            ("menu card please", "22333", Some(5)),
            ("the menu please", "44555", Some(1)),
            ("menus", "44555", None),
            ("", "44555", None),
        ] {
            assert_eq!(choose(&rules, text, number).map(|rule| rule.id), expected, "{text} to {number}");
        }
    }
}
