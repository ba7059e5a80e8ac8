//! Two sets of runs, compared: whether they differ, and by how much.

mod comparison;
mod render;

pub use comparison::{Comparison, Difference, Significance, compare, obstacle, other_protocol};
pub use render::{render_page, render_table};
