//! One report, many outputs: JSON, CSV, an HDR log, a table, a page.

pub mod charts;
pub mod csv;
pub mod hdr;
pub mod html;
pub mod json;
pub mod merged;
pub mod page;
pub mod table;

pub use json::Report;
