//! Pictures, videos and cards that messages carry: what a file is, told by its content and never by its name; and the files of one message.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A kind of file that may be sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MediaKind {
    /// A photograph.
    Jpeg,
    /// A drawing.
    Png,
    /// An animation.
    Gif,
    /// Any of the three.
    Webp,
    /// A video.
    Mp4,
    /// A video of older handsets.
    ThreeGp,
    /// A contact (vCard).
    Vcard,
    /// A document.
    Pdf,
}

/// Boxes of videos (ISO 14496-12 §4.3): the brands of 3GPP begin with these, the others listed are MP4's.
const BRANDS_3GP: &[&[u8]] = &[b"3gp", b"3g2", b"3ge", b"3gg", b"3gr", b"3gs"];
const BRANDS_MP4: &[&[u8]] =
    &[b"isom", b"iso2", b"iso4", b"iso5", b"iso6", b"mp41", b"mp42", b"avc1", b"dash", b"M4V ", b"MSNV"];

impl MediaKind {
    /// All of them.
    pub const ALL: [MediaKind; 8] = [
        MediaKind::Jpeg,
        MediaKind::Png,
        MediaKind::Gif,
        MediaKind::Webp,
        MediaKind::Mp4,
        MediaKind::ThreeGp,
        MediaKind::Vcard,
        MediaKind::Pdf,
    ];

    /// What a file is, by its first octets; `None` for everything else, whatever it says it is.
    pub fn of(octets: &[u8]) -> Option<MediaKind> {
        let begins = |with: &[u8]| octets.starts_with(with);
        let at = |place: usize, with: &[u8]| octets.get(place..).is_some_and(|rest| rest.starts_with(with));
        Some(match octets {
            _ if begins(b"\xFF\xD8\xFF") => MediaKind::Jpeg,
            _ if begins(b"\x89PNG\r\n\x1A\n") => MediaKind::Png,
            _ if begins(b"GIF87a") || begins(b"GIF89a") => MediaKind::Gif,
            _ if begins(b"RIFF") && at(8, b"WEBP") => MediaKind::Webp,
            _ if at(4, b"ftyp") && BRANDS_3GP.iter().any(|brand| at(8, brand)) => MediaKind::ThreeGp,
            _ if at(4, b"ftyp") && BRANDS_MP4.iter().any(|brand| at(8, brand)) => MediaKind::Mp4,
            _ if begins(b"%PDF-") => MediaKind::Pdf,
            _ if is_vcard(octets) => MediaKind::Vcard,
            _ => return None,
        })
    }

    /// The word most carriers have for it.
    pub const fn word(self) -> &'static str {
        match self {
            MediaKind::Jpeg | MediaKind::Png | MediaKind::Gif | MediaKind::Webp => "image",
            MediaKind::Mp4 | MediaKind::ThreeGp => "video",
            MediaKind::Vcard => "vcard",
            MediaKind::Pdf => "file",
        }
    }

    /// Its media type (RFC 6838).
    pub const fn content_type(self) -> &'static str {
        match self {
            MediaKind::Jpeg => "image/jpeg",
            MediaKind::Png => "image/png",
            MediaKind::Gif => "image/gif",
            MediaKind::Webp => "image/webp",
            MediaKind::Mp4 => "video/mp4",
            MediaKind::ThreeGp => "video/3gpp",
            MediaKind::Vcard => "text/vcard",
            MediaKind::Pdf => "application/pdf",
        }
    }

    /// The kind of that media type.
    pub fn from_content_type(text: &str) -> Option<MediaKind> {
        MediaKind::ALL.into_iter().find(|kind| kind.content_type() == text)
    }

    /// The end of a file's name.
    pub const fn extension(self) -> &'static str {
        match self {
            MediaKind::Jpeg => "jpg",
            MediaKind::Png => "png",
            MediaKind::Gif => "gif",
            MediaKind::Webp => "webp",
            MediaKind::Mp4 => "mp4",
            MediaKind::ThreeGp => "3gp",
            MediaKind::Vcard => "vcf",
            MediaKind::Pdf => "pdf",
        }
    }

    /// Whether browsers show it by themselves without running anything in it.
    pub const fn shown_inline(self) -> bool {
        !matches!(self, MediaKind::Vcard | MediaKind::Pdf)
    }
}

/// A file of a message.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MessageFile {
    /// Where anybody can fetch it.
    pub url: String,
    /// What it is, if that is known: a file elsewhere nobody has seen, and its address may not tell.
    pub kind: Option<MediaKind>,
}

impl MessageFile {
    /// A file elsewhere: what it is, is read off its address.
    pub fn elsewhere(url: &str) -> MessageFile {
        let path = url.split(['?', '#']).next().unwrap_or_default();
        let name = path.splitn(4, '/').nth(3).unwrap_or_default();
        let end = name.rsplit_once('.').map_or("", |(_, end)| end).to_ascii_lowercase();
        let kind = match end.as_str() {
            "jpeg" => Some(MediaKind::Jpeg),
            end => MediaKind::ALL.into_iter().find(|kind| kind.extension() == end),
        };
        MessageFile { url: url.to_owned(), kind }
    }
}

/// What files a carrier takes with one message.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Carries {
    /// At most so many.
    pub files: u8,
    /// Of these kinds, and of those nobody knows.
    pub kinds: &'static [MediaKind],
}

impl Carries {
    /// None.
    pub const NOTHING: Carries = Carries { files: 0, kinds: &[] };

    /// Whether it takes all of these.
    pub fn all(self, mms: &Mms) -> bool {
        let known = |file: &MessageFile| file.kind.is_none_or(|kind| self.kinds.contains(&kind));
        mms.files.len() <= usize::from(self.files) && mms.files.iter().all(known)
    }
}

/// The files of a message that may go as an MMS; stored as JSON.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Mms {
    /// At least one, in order.
    pub files: Vec<MessageFile>,
    /// Whether the text ends with a link to each, for connections that take no files; without, it goes as an MMS or not at all.
    pub links: bool,
}

impl Mms {
    /// A text with a line for each file behind it.
    pub fn with_links(text: &str, urls: impl IntoIterator<Item = impl AsRef<str>>) -> String {
        let mut all = text.to_owned();
        for url in urls {
            if !all.is_empty() {
                all.push('\n');
            }
            all.push_str(url.as_ref());
        }
        all
    }

    /// What is to be said beside the files: a message's text without its links.
    pub fn caption<'a>(&self, body: &'a str) -> &'a str {
        if !self.links {
            return body;
        }
        let links = Mms::with_links("", self.files.iter().map(|f| &f.url));
        let text = body.strip_suffix(links.as_str()).unwrap_or(body);
        text.strip_suffix('\n').unwrap_or(text)
    }
}

/// Written as its media type.
impl Serialize for MediaKind {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.content_type())
    }
}

impl<'de> Deserialize<'de> for MediaKind {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<MediaKind, D::Error> {
        let text = String::deserialize(d)?;
        MediaKind::from_content_type(&text).ok_or_else(|| serde::de::Error::custom("a media type that is none of ours"))
    }
}

/// RFC 6350 §3.3: a card begins with this line; it is text throughout.
fn is_vcard(octets: &[u8]) -> bool {
    let head = octets.get(..11).is_some_and(|head| head.eq_ignore_ascii_case(b"BEGIN:VCARD"));
    head && std::str::from_utf8(octets).is_ok_and(|text| !text.contains('\0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_known_by_what_they_are() {
        let rows: &[(&[u8], Option<MediaKind>)] = &[
            (b"\xFF\xD8\xFF\xE0\0\x10JFIF", Some(MediaKind::Jpeg)),
            (b"\x89PNG\r\n\x1A\n\0\0\0\rIHDR", Some(MediaKind::Png)),
            (b"GIF89a\x01\0", Some(MediaKind::Gif)),
            (b"RIFF\x24\0\0\0WEBPVP8 ", Some(MediaKind::Webp)),
            (b"RIFF\x24\0\0\0WAVEfmt ", None),
            (b"\0\0\0\x18ftypmp42\0\0\0\0", Some(MediaKind::Mp4)),
            (b"\0\0\0\x18ftyp3gp5\0\0\0\0", Some(MediaKind::ThreeGp)),
            (b"\0\0\0\x18ftypheic\0\0\0\0", None),
            (b"%PDF-1.7\n", Some(MediaKind::Pdf)),
            (b"BEGIN:VCARD\r\nVERSION:4.0\r\nFN:Ada\r\nEND:VCARD\r\n", Some(MediaKind::Vcard)),
            (b"begin:vcard\nEND:VCARD\n", Some(MediaKind::Vcard)),
            (b"BEGIN:VCARD\n\0", None),
            (b"<svg xmlns='http://www.w3.org/2000/svg'>", None),
            (b"<!doctype html>", None),
            (b"#!/bin/sh\n", None),
            (b"\x7FELF", None),
            (b"PK\x03\x04", None),
            (b"GIF8", None),
            (b"", None),
        ];
        for (octets, kind) in rows {
            assert_eq!(MediaKind::of(octets), *kind, "{}", String::from_utf8_lossy(octets));
        }
        for kind in MediaKind::ALL {
            assert_eq!(MediaKind::from_content_type(kind.content_type()), Some(kind));
            let url = format!("https://a.example/b.c/x.{}?d=e.jpg#f", kind.extension());
            assert_eq!(MessageFile::elsewhere(&url).kind, Some(kind), "{url}");
        }
        for (url, kind) in [
            ("https://a.jpg", None),
            ("https://a.jpg/x", None),
            ("https://a/x.JPEG", Some(MediaKind::Jpeg)),
            ("https://a/x.exe", None),
        ] {
            assert_eq!(MessageFile::elsewhere(url).kind, kind, "{url}");
        }
    }

    #[test]
    fn carriers_take_so_many_files_of_some_kinds() {
        let carries = Carries { files: 2, kinds: &[MediaKind::Png] };
        let rows: &[(&[&str], bool)] = &[
            (&["https://a/x.png"], true),
            (&["https://a/x.png", "https://a/y"], true),
            (&["https://a/x.png", "https://a/y.pdf"], false),
            (&["https://a/x.png", "https://a/y.png", "https://a/z.png"], false),
        ];
        for (urls, takes) in rows {
            let mms = Mms { files: urls.iter().map(|url| MessageFile::elsewhere(url)).collect(), links: true };
            assert_eq!((carries.all(&mms), Carries::NOTHING.all(&mms)), (*takes, false), "{urls:?}");
        }
    }

    #[test]
    fn a_caption_is_the_text_without_its_links() {
        let mms = |links| {
            let file = |url: &str| MessageFile::elsewhere(url);
            Mms { files: vec![file("https://a/1"), file("https://a/2")], links }
        };
        for (text, body) in [
            ("Look", "Look\nhttps://a/1\nhttps://a/2"),
            ("", "https://a/1\nhttps://a/2"),
            ("Look\n", "Look\n\nhttps://a/1\nhttps://a/2"),
            ("https://a/1", "https://a/1\nhttps://a/1\nhttps://a/2"),
        ] {
            assert_eq!(Mms::with_links(text, ["https://a/1", "https://a/2"]), body);
            assert_eq!(mms(true).caption(body), text);
            assert_eq!(mms(false).caption(body), body);
        }
    }
}
