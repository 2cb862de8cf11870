//! teu.
