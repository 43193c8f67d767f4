//! Pictures, videos and cards that messages carry: what a file is, told by its content and never by its name.

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
        }
    }
}
