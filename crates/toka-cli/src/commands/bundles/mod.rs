//! `toka vault export`, `toka vault import`, and `toka verify` of a bundle.

pub(crate) mod check;
pub(crate) mod export;
pub(crate) mod import;
