//! The text of `INFO`.

use std::fmt::{Display, Write as _};

/// Lines of a name and a value, under headings.
#[derive(Default)]
pub(crate) struct InfoText(pub(crate) String);

impl InfoText {
    pub(crate) fn field(&mut self, name: &str, value: impl Display) {
        // Writing to a string cannot fail.
        let _ = write!(self.0, "{name}:{value}\r\n");
    }
}
