//! A pull parser over one file: starts, ends, texts. Memory holds one of them.

use std::{
    fs::File,
    io::BufReader,
    path::{Path, PathBuf},
};

use quick_xml::{Reader, XmlVersion, escape::resolve_predefined_entity, events::Event};

use super::SourceError;

/// A part of a document.
pub(super) enum Part {
    /// `<name …>`, with those attributes that were asked for.
    Start(String, Vec<(String, String)>),
    /// `</name>`, or the end of `<name/>`.
    End(String),
    /// Text, entities resolved; neighbouring texts come one by one.
    Text(String),
}

/// A file being read.
pub(super) struct Xml<'a> {
    path: PathBuf,
    reader: Reader<BufReader<File>>,
    buffer: Vec<u8>,
    open: Vec<String>,
    wanted: &'a [&'a str],
}

impl<'a> Xml<'a> {
    /// Opens `path`; of attributes only those in `wanted` are decoded.
    pub(super) fn open(path: &Path, wanted: &'a [&'a str]) -> Result<Self, SourceError> {
        let file =
            File::open(path).map_err(|source| SourceError::Io { path: path.to_owned(), source })?;
        let mut reader = Reader::from_reader(BufReader::with_capacity(1 << 18, file));
        reader.config_mut().expand_empty_elements = true;
        let (path, buffer, open) = (path.to_owned(), Vec::new(), Vec::new());
        Ok(Self { path, reader, buffer, open, wanted })
    }

    /// Returns the next part, `None` at the end of the document.
    pub(super) fn next(&mut self) -> Result<Option<Part>, SourceError> {
        loop {
            self.buffer.clear();
            let byte = self.reader.buffer_position();
            let wrong = |source: quick_xml::Error| match source {
                quick_xml::Error::Io(source) => {
                    let source = std::io::Error::new(source.kind(), source.to_string());
                    SourceError::Io { path: self.path.clone(), source }
                }
                source => {
                    let source = Box::new(source);
                    SourceError::Xml { path: self.path.clone(), byte, source }
                }
            };
            match self.reader.read_event_into(&mut self.buffer).map_err(wrong)? {
                Event::Start(start) => {
                    let name = start.name().0.to_owned();
                    let mut attributes = Vec::new();
                    for attribute in start.attributes() {
                        let attribute = attribute.map_err(|error| wrong(error.into()))?;
                        if self.wanted.contains(&attribute.key.0) {
                            let value = attribute.normalized_value(XmlVersion::Implicit1_0);
                            let value = value.map_err(wrong)?.into_owned();
                            attributes.push((attribute.key.0.to_owned(), value));
                        }
                    }
                    self.open.push(name.clone());
                    return Ok(Some(Part::Start(name, attributes)));
                }
                Event::End(end) => {
                    self.open.pop();
                    return Ok(Some(Part::End(end.name().0.to_owned())));
                }
                Event::Text(text) => {
                    return Ok(Some(Part::Text(text.xml10_content().into_owned())));
                }
                Event::CData(text) => {
                    return Ok(Some(Part::Text(text.xml10_content().into_owned())));
                }
                Event::GeneralRef(entity) => {
                    let letter = entity.resolve_char_ref().map_err(wrong)?;
                    let text = match (letter, resolve_predefined_entity(&entity)) {
                        (Some(letter), _) => letter.to_string(),
                        (None, Some(text)) => text.to_owned(),
                        // Entities of its own are nothing that a dump defines.
                        (None, None) => format!("&{};", &*entity),
                    };
                    return Ok(Some(Part::Text(text)));
                }
                Event::Eof => {
                    return match self.open.pop() {
                        None => Ok(None),
                        Some(element) => {
                            Err(SourceError::Truncated { path: self.path.clone(), element })
                        }
                    };
                }
                _ => {}
            }
        }
    }
}
