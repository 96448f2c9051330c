//! The language of a row, as far as the audit needs it: English or not.
//!
//! A script other than Latin decides at once; otherwise the commonest small words of six languages
//! are counted. Enough to find rows that do not belong in an English data set; no more is claimed.

use crate::corpus::words::{folded, words};

/// Words below which no language is told.
const LEAST_WORDS: usize = 8;
/// Share of letters of one other script that decides.
const SCRIPT_SHARE: f64 = 0.3;

/// Small words that are common in one of the languages and rare in the others.
const SMALL_WORDS: [(&str, &str); 6] = [
    ("en", "the of and to is that for with as are this be have or by from not it what which was"),
    (
        "de",
        "der die das und ist nicht mit von den ein eine für auf im zu sich dem des bei sind oder",
    ),
    ("fr", "le la les des et est une dans pour que qui sur pas du au avec ce sont par plus ou"),
    ("es", "el los las del y es una que por con para se en no su como más lo al son está"),
    ("it", "il di che è per una con non del della sono gli le nel si alla ed anche dei più lo"),
    ("pt", "o os as do da em um uma que não com para se por mais dos das ao é são como"),
];

/// Returns `en` or another language's code, the name of a script, or `unknown`.
pub(super) fn language(text: &str) -> &'static str {
    let folded = folded(text);
    if let Some(script) = other_script(&folded) {
        return script;
    }
    let words: Vec<&str> = words(&folded).collect();
    if words.len() < LEAST_WORDS {
        return "unknown";
    }
    let hits = |list: &str| {
        let small: Vec<&str> = list.split(' ').collect();
        words.iter().filter(|word| small.contains(word)).count()
    };
    let counted = SMALL_WORDS.map(|(code, list)| (hits(list), code));
    // The first of equals, so English where nothing tells otherwise.
    let best = counted.iter().rev().max_by_key(|(hits, _)| *hits);
    best.filter(|(hits, _)| *hits > 0).map_or("unknown", |(_, code)| *code)
}

fn other_script(text: &str) -> Option<&'static str> {
    if text.is_ascii() {
        return None;
    }
    let mut letters = 0;
    let mut scripts = [
        ("cyrillic", 0),
        ("greek", 0),
        ("arabic", 0),
        ("hebrew", 0),
        ("indic", 0),
        ("east asian", 0),
    ];
    for c in text.chars().filter(|c| c.is_alphabetic()) {
        letters += 1;
        let script = match u32::from(c) {
            0x400..=0x52f => 0,
            0x370..=0x3ff => 1,
            0x600..=0x77f => 2,
            0x590..=0x5ff => 3,
            0x900..=0xdff => 4,
            0x1100..=0x11ff | 0x3040..=0x30ff | 0x3400..=0x9fff | 0xac00..=0xd7af => 5,
            _ => continue,
        };
        scripts[script].1 += 1;
    }
    let (script, count) = scripts.into_iter().max_by_key(|(_, count)| *count)?;
    (f64::from(count) > SCRIPT_SHARE * f64::from(letters)).then_some(script)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn languages_are_told_apart() {
        let cases = [
            ("en", "The patient was seen in the clinic with a rash that is not itching"),
            (
                "de",
                "Der Patient wurde mit einem Ausschlag in der Klinik gesehen und ist nicht krank",
            ),
            ("fr", "Le patient est venu dans la clinique pour une toux qui dure des jours"),
            ("es", "El paciente es visto en la clínica por una tos que no mejora con los días"),
            (
                "it",
                "Il paziente è stato visto nella clinica per una tosse che non migliora con gli anni",
            ),
            ("pt", "O paciente foi visto em uma clínica por tosse que não melhora com os dias"),
            ("cyrillic", "Пациент был осмотрен в клинике"),
            ("east asian", "患者在诊所就诊，咳嗽两周"),
            ("unknown", "Aspirin 100 mg"),
            ("en", "α-fetoprotein and β-hCG are the markers of which of these tumours"),
        ];
        for (expected, text) in cases {
            assert_eq!(language(text), expected, "{text}");
        }
    }
}
