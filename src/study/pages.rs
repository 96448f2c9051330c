//! A report as sections of paragraphs and tables, poured into Markdown or one HTML page.

use minijinja::{Value, context};

use crate::reports::{
    ReportError, TextTable, escape,
    page::{Page, safe},
};

const TEMPLATE: &str = include_str!("sections.html");

/// A part of a report.
pub(super) struct Section {
    /// Anchor of the page.
    pub(super) id: &'static str,
    /// Its heading.
    pub(super) title: &'static str,
    /// Paragraphs before the tables.
    pub(super) says: Vec<String>,
    /// Heading, empty for none, and content of each table.
    pub(super) tables: Vec<(String, TextTable)>,
    /// A drawing of the first table's numbers, with a description.
    pub(super) plot: Option<(String, String)>,
}

impl Section {
    /// Returns a section of one table.
    pub(super) fn new(id: &'static str, title: &'static str, says: &str, table: TextTable) -> Self {
        let tables = vec![(String::new(), table)];
        Self { id, title, says: vec![says.to_owned()], tables, plot: None }
    }
}

/// A whole report.
pub(super) struct Pages<'a> {
    pub(super) title: &'a str,
    pub(super) about: &'a str,
    /// The command that made it.
    pub(super) command: &'a str,
    pub(super) sections: Vec<Section>,
}

impl Pages<'_> {
    /// Returns the report in Markdown.
    pub(super) fn markdown(&self) -> String {
        let mut page = format!("# {}\n\n{}\n", escape(self.title), escape(self.about));
        for section in &self.sections {
            page += &format!("\n## {}\n", section.title);
            for paragraph in &section.says {
                page += &format!("\n{}\n", escape(paragraph));
            }
            for (heading, table) in &section.tables {
                if !heading.is_empty() {
                    page += &format!("\n### {}\n", escape(heading));
                }
                page += &format!("\n{}", table.markdown());
            }
        }
        page
    }

    /// Returns the report as one page that loads nothing.
    pub(super) fn html(&self) -> Result<String, ReportError> {
        let anchors: Vec<(&str, &str)> =
            self.sections.iter().map(|section| (section.id, section.title)).collect();
        let page = Page {
            title: self.title,
            kicker: self.command,
            sections: &anchors,
            footer: &format!("Made by `{}`. This file loads nothing from anywhere.", self.command),
            island: "",
        };
        let parts: Vec<Value> = self.sections.iter().map(part).collect();
        page.render(TEMPLATE, context! { about => self.about, parts })
    }
}

fn part(section: &Section) -> Value {
    let table = |(heading, table): &(String, TextTable)| {
        context! {
            heading => &**heading,
            heads => table.heads().to_vec(),
            words => table.words(),
            rows => table.rows().to_vec(),
        }
    };
    let plot = section.plot.as_ref();
    context! {
        id => section.id,
        title => section.title,
        says => &section.says,
        tables => section.tables.iter().map(table).collect::<Vec<_>>(),
        plot => plot.map(|(_, svg)| safe(svg.clone())),
        shows => plot.map(|(shows, _)| &**shows),
    }
}
