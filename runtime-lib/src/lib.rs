//! teu.
pub mod error;
