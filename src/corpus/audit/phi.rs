//! Patterns of personal health information: the identifiers of HIPAA's Safe Harbor rule that text
//! can show.
//!
//! Source of the list: 45 CFR 164.514(b)(2)(i). Of its 18 classes, biometric identifiers and
//! photographs are no text; the other 16 are here. Patterns find forms, not people: a name without a
//! title or a label is missed, a fictional one is found. How much is found stands beside every
//! report ([`identifier_recall`](super::identifier_recall)).

use std::sync::LazyLock;

use regex::RegexSet;
use serde::{Deserialize, Serialize};

/// A class of identifiers; the number is the rule's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IdentifierClass {
    /// (A) Names.
    Name,
    /// (B) Street addresses, post boxes, ZIP codes; of codes cut to three digits those that 20,000
    /// people or fewer share.
    Place,
    /// (C) Dates more precise than a year, and ages above 89.
    Date,
    /// (D) Telephone numbers.
    Phone,
    /// (E) Fax numbers.
    Fax,
    /// (F) Electronic mail addresses.
    Email,
    /// (G) Social security numbers.
    SocialSecurity,
    /// (H) Medical record numbers.
    MedicalRecord,
    /// (I) Health plan beneficiary numbers.
    HealthPlan,
    /// (J) Account numbers.
    Account,
    /// (K) Certificate and licence numbers.
    Licence,
    /// (L) Vehicle identifiers and plates.
    Vehicle,
    /// (M) Device identifiers and serial numbers.
    Device,
    /// (N) Web addresses.
    Url,
    /// (O) Internet protocol addresses.
    Ip,
    /// (R) Any other unique number.
    Other,
}

const MONTH: &str = "(?:Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?|Sept?(?:ember)?|Oct(?:ober)?|Nov(?:ember)?|Dec(?:ember)?)";
const STREET: &str = "(?:Street|St|Avenue|Ave|Road|Rd|Boulevard|Blvd|Lane|Ln|Drive|Dr|Court|Ct|Way|Place|Pl|Square|Terrace|Parkway|Highway|Hwy)";
/// First three digits of ZIP codes shared by 20,000 people or fewer, which may not stand even alone.
/// Source: HHS, guidance on de-identification of 26 November 2012, by the census of 2000.
const FEW_PEOPLE: &str = "036|059|063|102|203|556|692|790|821|823|830|831|878|879|884|890|893";
/// "number", in the words that stand between a label and its value.
const NO: &str =
    r"(?i:\s*(?:numbers?|no|nr|num|id|identifier|identification|code|is|was|[:=,#.-]))*\s*";
/// A value of letters and digits with at least four digits.
const VALUE: &str = r"[A-Za-z]{0,4}[-/ ]?\d[\dA-Za-z-]{2,}\d";

/// Every pattern with its class.
fn patterns() -> Vec<(IdentifierClass, String)> {
    use IdentifierClass as C;
    let word = r"[A-Z][a-zà-ÿ]+(?:['’-][A-Z][a-z]+)?";
    let label = |words: &str| format!(r"\b(?i:{words}){NO}{VALUE}");
    let mut all = vec![
        (C::Name, format!(r"\b(?:Mr|Mrs|Ms|Miss|Mx|Dr|Prof)\.?\s+(?:[A-Z]\.\s*)?{word}")),
        (C::Name, format!(r"\b(?i:(?:patient|client|name|pt)(?:'s name| name)?)\s*[:=]\s*{word},?\s+{word}")),
        (C::Name, format!(r"\b(?i:my name is|patient named|named|signed(?: by)?|daughter|son|wife|husband|mother|father|sister|brother|nurse|doctor|attending),?\s+(?:[A-Z]\.\s*)?{word}\s+(?:[A-Z]\.\s*)?{word}")),
        (C::Name, format!(r"\b{word}\s+(?:[A-Z]\.\s*)?{word},?\s+(?:MD|M\.D\.|DO|RN|NP|PhD|FACS)\b")),
        (C::Name, format!(r"\b{word}, {word} (?:[A-Z]\.)?\s*\((?:DOB|MRN|born)\b")),
        (C::Place, format!(r"\b\d{{1,5}}[A-Z]?\s+(?:[NSEW]\.?\s+)?(?:[A-Z][a-z]+\s+|\d{{1,3}}(?:st|nd|rd|th)\s+){{1,3}}{STREET}\b")),
        (C::Place, r"\b(?i:p\.?\s?o\.?\s?box)\s*\d+".into()),
        (C::Place, r"\b[A-Z]{2},?\s+\d{5}(?:-\d{4})?\b".into()),
        (C::Place, r"\b(?i:zip|postal|post)(?i:\s*code)?\W{0,3}(?i:is\s*)?\d{5}(?:-\d{4})?\b".into()),
        (C::Place, format!(r"(?i)\bzip(?:-?3)?(?:\s*codes?)?(?:\s*(?:prefix|area|beginning with|starting with))?\W{{0,3}}(?:is\s*)?(?:{FEW_PEOPLE})(?:\*\*|xx|-)?(?:[^\w*-]|$)")),
        (C::Date, r"\b(?:0?[1-9]|1[0-2])[/-](?:0?[1-9]|[12]\d|3[01])[/-](?:(?:19|20)\d{2}|\d{2})\b".into()),
        (C::Date, r"\b(?:0?[1-9]|[12]\d|3[01])[./-](?:0?[1-9]|1[0-2])[./-](?:19|20)\d{2}\b".into()),
        (C::Date, r"\b(?:19|20)\d{2}[-/](?:0[1-9]|1[0-2])[-/](?:0[1-9]|[12]\d|3[01])\b".into()),
        (C::Date, format!(r"\b{MONTH}\.?\s+(?:0?[1-9]|[12]\d|3[01])(?:st|nd|rd|th)?\b")),
        (C::Date, format!(r"\b(?:0?[1-9]|[12]\d|3[01])(?:st|nd|rd|th)?\s+(?:of\s+)?{MONTH}\b")),
        (C::Date, r"\b(?:9\d|1[01]\d)[\s-]*(?:years?|yrs?|yo|y/o|y\.o\.)(?:[\s-]*old)?\b".into()),
        (C::Date, r"\b(?i:aged?)(?i:\s+of|:)?\s+(?:9\d|1[01]\d)\b".into()),
        (C::Phone, r"(?:^|[^\d-])(?:\+?1[-. ]?)?(?:\(\d{3}\)\s?|\d{3}[-. ])\d{3}[-. ]\d{4}\b".into()),
        (C::Phone, r"\+\d{1,3}[ .-]?(?:\(0\))?\d{1,4}(?:[ .-]?\d{2,4}){2,4}\b".into()),
        (C::Phone, r"\b(?i:phone|telephone|tel|cell|mobile|call|pager)(?i:\s*(?:number|no\.?|is|at|:|\.))*\s*\+?[\d(][\d() .-]{6,}\d".into()),
        (C::Fax, r"(?i)\bfax(?:ed)?(?:\s*(?:number|no\.?|is|at|to|line|machine|:|\.))*\s*\+?[\d(][\d() .-]{6,}\d".into()),
        (C::Fax, r"(?i)[\d(][\d() .-]{6,}\d\s*\(fax\)".into()),
        (C::Email, r"(?i)\b[a-z0-9._%+-]+@[a-z0-9-]+(?:\.[a-z0-9-]+)*\.[a-z]{2,}\b".into()),
        (C::Email, r"(?i)\b[a-z0-9._-]+\s*[\[(]at[\])]\s*[a-z0-9-]+\s*(?:\.|[\[(]dot[\])])\s*[a-z]{2,}\b".into()),
        (C::SocialSecurity, r"\b\d{3}-\d{2}-\d{4}\b".into()),
        (C::SocialSecurity, r"(?i)\b(?:ssn|soc(?:ial)?\.? sec(?:urity)?\.?)\D{0,24}\d{3}[- ]?\d{2}[- ]?\d{4}\b".into()),
        (C::MedicalRecord, label("mrn|medical record|med rec|chart|hospital|patient record|unit record")),
        (C::HealthPlan, label("medicare|medicaid|insurance|insurer|member(?:ship)?|policy|health ?plan|beneficiary|subscriber|group|hicn|mbi|nhs")),
        (C::Account, label("account|acct|a/c|billing|invoice|bank|credit card|card|routing|iban")),
        (C::Account, r"\b(?:\d{4}[- ]){3}\d{4}\b".into()),
        (C::Account, r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){3,7}(?: ?[A-Z0-9]{1,3})?\b".into()),
        (C::Licence, label("licen[cs]e|certificate|certification|dea|npi|registration|passport|permit")),
        (C::Vehicle, r"(?i)\bvin\b\W{0,3}(?:number|no\.?|is|:)?\W{0,3}[A-HJ-NPR-Z0-9]{11,17}\b".into()),
        (C::Vehicle, r"\b[A-HJ-NPR-Z]{1,3}[A-HJ-NPR-Z0-9]{4,9}\d[A-HJ-NPR-Z0-9]{0,4}\d{5}\b".into()),
        (C::Vehicle, format!(r"(?i)\b(?:(?:licen[cs]e|number|registration)\s+)?plates?{NO}(?-i:[A-Z0-9]{{1,4}}[- ]?[A-Z0-9]{{2,5}})\b")),
        (C::Device, label("serial|s/n|sn|device|pacemaker|implant|udi|imei|lot|model")),
        (C::Device, r"\b(?:[0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}\b".into()),
        (C::Url, r"(?i)\bhttps?://[^\s<>]+|\bwww\.[a-z0-9-]+\.[a-z]{2,}|\b[a-z0-9-]+\.(?:com|org|net|edu|gov|info)/[^\s<>]*".into()),
        (C::Ip, r"\b(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d)\b".into()),
        (C::Ip, r"(?i)\b(?:[0-9a-f]{1,4}:){7}[0-9a-f]{1,4}\b|\b(?:[0-9a-f]{1,4}:){2,6}:[0-9a-f]{1,4}\b".into()),
        (C::Other, label("(?:patient|subject|case|study|participant|employee|student|specimen|accession|trial|encounter|visit|barcode|badge)\\s+(?:id|identifier|number|no\\.?|code|#)|accession|barcode")),
    ];
    all.shrink_to_fit();
    all
}

static PATTERNS: LazyLock<(Vec<IdentifierClass>, RegexSet)> = LazyLock::new(|| {
    let (classes, patterns): (Vec<_>, Vec<_>) = patterns().into_iter().unzip();
    (classes, RegexSet::new(patterns).expect("fixed patterns"))
});

/// Returns the classes of identifiers whose patterns stand in `text`, each once, in order.
///
/// # Examples
///
/// ```
/// use medharness::corpus::audit::{IdentifierClass, identifiers};
///
/// let text = "Mr. Doe, 93 years old, was seen on 04/17/2021; blood pressure 120/80.";
/// assert_eq!(identifiers(text), [IdentifierClass::Name, IdentifierClass::Date]);
/// ```
pub fn identifiers(text: &str) -> Vec<IdentifierClass> {
    let (classes, set) = &*PATTERNS;
    let mut found: Vec<_> = set.matches(text).into_iter().map(|index| classes[index]).collect();
    found.sort_unstable();
    found.dedup();
    found
}
