//! The one page that all HTML is poured into: self-contained, light and dark, escaped by default.
//!
//! A page names no address outside itself: style, scripts and data stand in the file, and its
//! content policy lets the browser load nothing and run only the scripts put there by this module.

use minijinja::{Environment, UndefinedBehavior, Value, context, syntax::SyntaxConfig};
use sha2::{Digest, Sha256};

use super::{ReportError, island::escaped};

const PAGE: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/style.css");
const TABLES: &str = include_str!("page/tables.js");
const QUESTIONS: &str = include_str!("page/questions.js");

/// What every page has.
#[derive(Debug, Clone)]
pub struct Page<'a> {
    /// Heading and title.
    pub title: &'a str,
    /// The line above the heading.
    pub kicker: &'a str,
    /// Sections by anchor and title, in order.
    pub sections: &'a [(&'a str, &'a str)],
    /// The line below everything.
    pub footer: &'a str,
    /// JSON for the scripts; empty for none.
    pub island: &'a str,
}

impl Page<'_> {
    /// Fills `template`, which extends `page.html`, with `content`.
    ///
    /// Every text is escaped unless it is marked safe with [`safe`].
    ///
    /// # Errors
    ///
    /// [`ReportError::Template`] for a template that cannot be filled.
    pub fn render(&self, template: &str, content: Value) -> Result<String, ReportError> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment
            .set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
        environment.add_template("page.html", PAGE)?;
        environment.add_template("content.html", template)?;
        let sections: Vec<Value> =
            self.sections.iter().map(|&(id, title)| context! { id, title }).collect();
        let island = escaped(self.island);
        // Unknown to whoever wrote a reply, since it depends on every reply.
        let nonce: String =
            Sha256::digest(island.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
        let page = context! {
            title => self.title,
            kicker => self.kicker,
            sections,
            footer => self.footer,
            nonce,
            style => safe(STYLE.to_owned()),
            island => safe(island),
            script => safe(format!("{TABLES}{QUESTIONS}")),
            ..content
        };
        Ok(environment.get_template("content.html")?.render(page)?)
    }
}

/// Marks text as HTML that is already escaped, e.g. a plot.
pub fn safe(html: String) -> Value {
    Value::from_safe_string(html)
}
